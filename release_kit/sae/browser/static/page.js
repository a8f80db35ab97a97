// Data arrives as scripts: each calls browserData(key, value). load(key, file) adds such a script once and waits for it.
"use strict";
const arrived = new Map(), waiting = new Map();

function browserData(key, value) {
  arrived.set(key, value);
  if (waiting.has(key)) waiting.get(key)(value);
}

function load(key, file) {
  if (arrived.has(key)) return Promise.resolve(arrived.get(key));
  return new Promise((done, failed) => {
    waiting.set(key, done);
    const script = document.createElement("script");
    script.src = file.split("/").map(encodeURIComponent).join("/");
    script.onerror = () => failed(new Error(file + " is missing: was the folder copied whole?"));
    document.head.append(script);
  });
}

// An element with attributes and children; text is only ever put in as text.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") Object.entries(value).forEach(([event, act]) => element.addEventListener(event, act));
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function show(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 0.001 ? value.toPrecision(digits) : value.toExponential(1);
}
