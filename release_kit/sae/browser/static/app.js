// The browser: what is chosen stands in the address after #, so that a view can be kept and sent.
"use strict";
(function () {
  const index = arrived.get("index");
  const at = (id) => document.getElementById(id);
  const [first, second] = index.languages;
  const numbers = ["step", "layer", "seed", "feature"];
  const state = { size: null, seed: null, step: null, layer: null, metric: null, class: "", order: "density", query: "",
    feature: null };
  let columns = null, wanted = 0;

  const unique = (values) => [...new Set(values)];
  const ascending = (values) => unique(values).sort((a, b) => a - b);
  const named = (name) => name.replaceAll("_", " ");
  const cellName = (c) => `${c.size}_step-${c.step}_layer-${c.layer}_seed-${c.seed}`;
  const cells = (part) => index.cells.filter((c) => Object.entries(part).every(([key, value]) => c[key] === value));
  const source = (table, row) => (index.sources[table] || table) + "#" + row;

  function readAddress() {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      if (name in state) state[name] = numbers.includes(name) ? Number(value) : value;
    }
  }

  function writeAddress() {
    const kept = Object.entries(state).filter(([, value]) => value !== null && value !== "");
    history.replaceState(null, "", "#" + new URLSearchParams(kept));
  }

  // What is chosen must exist: each choice falls back to the nearest that does.
  function settle() {
    const pick = (name, values) => {
      if (!values.includes(state[name])) state[name] = values[values.length - 1] ?? null;
      return values;
    };
    pick("size", unique(index.cells.map((c) => c.size)));
    pick("seed", ascending(cells({ size: state.size }).map((c) => c.seed)).reverse());
    const layers = ascending(cells({ size: state.size, seed: state.seed }).map((c) => c.layer));
    if (!layers.includes(state.layer)) state.layer = layers[Math.floor((layers.length - 1) / 2)] ?? null;
    pick("step", ascending(cells({ size: state.size, seed: state.seed, layer: state.layer }).map((c) => c.step)));
    const metrics = unique(index.metrics.map((m) => m[4])).filter((m) => !m.endsWith("_null"));
    if (!metrics.includes(state.metric)) state.metric = metrics[0] ?? null;
    return { metrics, layers };
  }

  function options(id, values, chosen, words = String) {
    at(id).replaceChildren(...values.map((value) => {
      const option = make("option", { value }, words(value));
      option.selected = value === chosen;
      return option;
    }));
  }

  function drawControls(known) {
    options("size", unique(index.cells.map((c) => c.size)), state.size);
    options("seed", ascending(cells({ size: state.size }).map((c) => c.seed)), state.seed);
    options("layer", known.layers, state.layer);
    options("metric", known.metrics, state.metric, named);
    const steps = ascending(cells({ size: state.size, seed: state.seed, layer: state.layer }).map((c) => c.step));
    at("step").max = steps.length - 1;
    at("step").value = steps.indexOf(state.step);
    at("step").setAttribute("aria-valuetext", "step " + show(state.step));
    at("stepShown").textContent = show(state.step);
    at("stepTicks").replaceChildren(...steps.map((_, k) => make("option", { value: k })));
  }

  // Perceptually even from dark to light; the ink on it follows its lightness.
  function colour(part) {
    const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
    const place = Math.min(Math.max(part, 0), 1) * (stops.length - 1), low = Math.floor(place);
    const high = Math.min(low + 1, stops.length - 1), rest = place - low;
    const rgb = stops[low].map((value, k) => Math.round(value + rest * (stops[high][k] - value)));
    return { background: `rgb(${rgb})`, ink: rgb[0] * 0.299 + rgb[1] * 0.587 + rgb[2] * 0.114 > 120 ? "#111" : "#fff" };
  }

  function drawMap() {
    const here = index.metrics.filter((m) => m[0] === state.size && m[3] === state.seed);
    const values = new Map(here.map((m) => [[m[4], m[1], m[2]].join("/"), m]));
    const steps = ascending(here.map((m) => m[1])), layers = ascending(here.map((m) => m[2])).reverse();
    const shown = here.filter((m) => m[4] === state.metric && m[5] !== null).map((m) => m[5]);
    const low = Math.min(0, ...shown), high = Math.max(...shown, low + 1e-9);
    const rows = layers.map((layer) => make("tr", {}, make("th", { scope: "row" }, "layer " + layer),
      ...steps.map((step) => make("td", {}, mapCell(values, layer, step, low, high)))));
    const head = make("tr", {}, make("th", {}), ...steps.map((step) => make("th", { scope: "col" }, "step " + show(step))));
    at("map").replaceChildren(make("table", { class: "map" }, make("thead", {}, head), make("tbody", {}, ...rows)));
    const withNull = here.some((m) => m[4] === state.metric + "_null");
    at("mapNote").textContent = `${named(state.metric || "")} of ${state.size}, seed ${state.seed}; colours from ` +
      `${show(low)} to ${show(high)}.` + (withNull ? " Below each figure: the same in the null." : "");
  }

  function mapCell(values, layer, step, low, high) {
    const one = values.get([state.metric, step, layer].join("/"));
    if (!one) return "";
    const beside = values.get([state.metric + "_null", step, layer].join("/"));
    const shade = colour((one[5] - low) / (high - low));
    const pressed = layer === state.layer && step === state.step;
    const cell = make("button", { type: "button", "aria-pressed": pressed, "data-source": source(one[7], one[6]),
      title: source(one[7], one[6]), style: `background:${shade.background};color:${shade.ink}`,
      "aria-label": `layer ${layer}, step ${step}: ${show(one[5])}` + (beside ? `, null ${show(beside[5])}` : ""),
      on: { click: () => change({ layer, step, feature: null }) } }, show(one[5]));
    if (beside) cell.append(make("small", { "data-source": source(beside[7], beside[6]) }, "null " + show(beside[5])));
    return cell;
  }

  const tagOf = (name) => "tag " + (name === first ? "first" : name === second ? "second" : name === "bilingual" ? "both" : "");

  function chosen() {
    const query = state.query.trim().toLowerCase();
    const rows = columns.feature.map((_, k) => k).filter((k) => (!state.class || columns.class[k] === state.class) &&
      (!query || String(columns.feature[k]) === query || columns.class[k].toLowerCase().includes(query) ||
        (columns.granularity[k] || "").toLowerCase().includes(query)));
    const order = columns[state.order] || columns.feature;
    const sign = state.order === "feature" || state.order === "share" ? 1 : -1;
    return rows.sort((a, b) => sign * ((order[a] ?? -1) - (order[b] ?? -1)) || columns.feature[a] - columns.feature[b]);
  }

  function drawList() {
    options("class", ["", ...unique(columns.class).sort()], state.class, (name) => name || "all");
    at("order").value = state.order;
    if (document.activeElement !== at("query")) at("query").value = state.query;
    const rows = chosen();
    if (state.feature === null || !columns.feature.includes(state.feature)) {
      state.feature = rows.length ? columns.feature[rows[0]] : null;
    }
    at("count").textContent = `${show(rows.length)} of ${show(columns.feature.length)}`;
    at("list").replaceChildren(...rows.slice(0, 1000).map((k) => make("button", { type: "button", role: "option",
      "aria-selected": columns.feature[k] === state.feature, "data-feature": columns.feature[k],
      "data-source": source("features", columns.row[k]), on: { click: () => change({ feature: columns.feature[k] }) } },
    make("span", { class: "n" }, String(columns.feature[k])),
    make("span", { class: tagOf(columns.class[k]) }, columns.class[k]),
    make("span", { class: "n faint" }, show(columns.density[k])))));
    if (rows.length > 1000) at("list").append(make("p", { class: "faint" }, "The first 1,000; narrow the choice for others."));
    return rows;
  }

  function token(text, value, top, peak) {
    const part = top > 0 ? Math.max(value, 0) / top : 0;
    return make("span", { class: peak ? "t peak" : "t", title: value ? show(value) : null,
      style: part > 0 ? `background:rgba(var(--mark),${(0.12 + 0.6 * part).toFixed(2)})` : null }, text);
  }

  function contextOf([, tokens, fired, pair, row], top) {
    const values = new Map(fired);
    let peak = -1, best = 0;
    fired.forEach(([k, value]) => { if (value > best) { best = value; peak = k; } });
    const line = make("div", { class: "context", "data-source": source("contexts", row) },
      ...tokens.map((text, k) => token(text, values.get(k) || 0, top, k === peak)));
    if (pair) line.append(make("span", { class: "pair" }, pair));
    return line;
  }

  const seriesName = () => `${state.size}_layer-${state.layer}_seed-${state.seed}`;

  async function linksHere() {
    try {
      return await load("links/" + seriesName(), `data/${seriesName()}_links.js`);
    } catch (error) {
      return [];
    }
  }

  // Steps of the same feature one way along training: its step, number, cosine, row, and whether it is shown.
  function walk(links, from, to, step, feature) {
    const found = [];
    for (let link = 1; link; ) {
      link = links.find((one) => one[from] === step && one[from + 1] === feature);
      if (link) {
        step = link[to]; feature = link[to + 1];
        found.push([step, feature, link[4], link[5], Boolean(link[6] & (to ? 2 : 1))]);
      }
    }
    return found;
  }

  const along = (links) => [...walk(links, 2, 0, state.step, state.feature).reverse(), null,
    ...walk(links, 0, 2, state.step, state.feature)];

  function past(links) {
    const line = along(links);
    if (line.length === 1) return null;
    const parts = line.map((one) => {
      if (one === null) return make("strong", {}, `step ${show(state.step)}: ${state.feature}`);
      const text = `step ${show(one[0])}: ${one[1]} (${show(one[2], 2)})`, place = source("links", one[3]);
      return one[4] ? make("button", { type: "button", "data-source": place,
        on: { click: () => change({ step: one[0], feature: one[1] }) } }, text)
        : make("span", { class: "faint", "data-source": place, title: "not among the features shown here" }, text);
    });
    const between = parts.flatMap((part, k) => k ? [" → ", part] : [part]);
    return make("p", { class: "past" }, "Along training (cosine of the decoders): ", ...between);
  }

  // The slider goes to the same feature at the other step where links lead to one that is shown.
  async function moveTo(step) {
    const same = along(await linksHere()).find((one) => one && one[0] === step && one[4]);
    change({ step, feature: same ? same[1] : null });
  }

  function sides(contexts, top) {
    return make("div", { class: "sides" }, ...[first, second].map((language) => {
      const own = contexts.filter((one) => one[0] === language);
      return make("div", {}, make("h3", { class: tagOf(language) }, `${language}: ${own.length || "no"} contexts`),
        ...own.map((one) => contextOf(one, top)));
    }));
  }

  async function drawFeature() {
    const k = columns.feature.indexOf(state.feature), ticket = ++wanted, panel = at("feature");
    if (k < 0) return panel.replaceChildren(make("p", { class: "faint" }, "No feature fits."));
    const name = cellName(state), number = Math.floor(k / index.chunk);
    const share = columns.share[k];
    const facts = make("p", { "data-source": source("features", columns.row[k]) },
      make("span", { class: tagOf(columns.class[k]) }, columns.class[k]), " · ", columns.granularity[k] || "no granularity",
      ` · fires on ${show(columns.density[k])} of tokens · share of ${first} ${show(share)} `,
      `[${show(columns.low[k])}, ${show(columns.high[k])}] `);
    if (share !== null) {
      facts.append(make("span", { class: "bar", role: "img", "aria-label": `${first} ${show(share)}` },
        make("i", { style: `width:${100 * share}%` })));
    }
    let contexts = [];
    try {
      const chunk = await load(`contexts/${name}/${number}`, `data/${name}_${number}.js`);
      contexts = chunk[String(state.feature)] || [];
    } catch (error) {
      facts.append(make("span", { class: "faint" }, ` ${error.message}`));
    }
    const links = await linksHere();
    if (ticket !== wanted) return;
    const top = Math.max(0, ...contexts.flatMap((one) => one[2].map((pair) => pair[1])));
    panel.replaceChildren(make("h3", {}, `Feature ${state.feature}`), facts, ...[past(links)].filter(Boolean), sides(contexts, top));
    panel.setAttribute("data-shown", `${name}/${state.feature}`);
  }

  async function draw() {
    const known = settle();
    drawControls(known);
    drawMap();
    const name = cellName(state);
    try {
      columns = await load("features/" + name, `data/${name}.js`);
    } catch (error) {
      return at("feature").replaceChildren(make("p", {}, error.message));
    }
    if (name !== cellName(state)) return;
    drawList();
    writeAddress();
    await drawFeature();
  }

  function change(part) {
    Object.assign(state, part);
    draw();
  }

  function listen() {
    at("step").addEventListener("input", () => {
      const steps = ascending(cells({ size: state.size, seed: state.seed, layer: state.layer }).map((c) => c.step));
      moveTo(steps[Number(at("step").value)]);
    });
    for (const id of ["size", "metric", "class", "order"]) at(id).addEventListener("change", () => change({ [id]: at(id).value }));
    for (const id of ["seed", "layer"]) at(id).addEventListener("change", () => change({ [id]: Number(at(id).value) }));
    at("query").addEventListener("input", () => change({ query: at("query").value }));
    at("list").addEventListener("keydown", (event) => {
      const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const rows = chosen(), here = rows.findIndex((k) => columns.feature[k] === state.feature);
      const next = rows[Math.min(Math.max(here + move, 0), rows.length - 1)];
      change({ feature: columns.feature[next] });
      at("list").querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
    });
    for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
    window.addEventListener("hashchange", () => { readAddress(); draw(); });
  }

  document.title = index.title;
  at("title").textContent = index.title;
  at("description").textContent = index.description;
  at("sources").textContent = Object.keys(index.sources).length
    ? "Each number names its file and row (hover, or read data-source): " + Object.values(index.sources).join(", ") : "";
  readAddress();
  listen();
  draw();
})();
