"""Does each checkpoint say of itself what its label says: base model, data, method, seed, step, epoch.

Compared are the label (the cell's levels), what training left beside the weights (config.json, adapter_config.json,
trainer_state.json) and the cell's provenance. A name that nobody declared proves nothing and is not reported.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from release_kit.core.study import Factor, Level
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import CellView, Survey

TRAINER_STATE = "trainer_state.json"
SAME_ARCHITECTURE = (
    "model_type", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
    "num_key_value_heads", "head_dim",
)  # fmt: skip
"""What fine-tuning does not change (the vocabulary may grow)."""

ARTIFACT_KEY = "artifact"
"""Provenance key under which training may record ``{file: sha256}`` of what it saved."""

_STEP_FOLDER = re.compile(r"(?:^|/)(?:checkpoint|step|global_step)[-_]?(\d+)\Z")


def check_labels(survey: Survey) -> Iterator[Problem]:
    """Yield every cell whose content says something else than its label."""
    for view in survey.cells.values():
        for factor in survey.study.factors:
            check = _BY_ROLE.get(factor.role)
            if check is not None and factor.name in view.cell.levels:
                yield from check(survey, view, factor, view.cell.levels[factor.name])
        yield from _folder_step(view)
        yield from _declared_steps(survey, view)
        yield from _declared_rank(survey, view)
    yield from _digests_by_level(survey, "base_model", _base_digest, "label-base-model")
    yield from _digests_by_level(survey, "dataset", _data_digest, "label-dataset")
    yield from _same_data(survey)
    yield from _swapped(survey)


def names_level(text: Any, factor: Factor) -> set[Level]:
    """Return the levels that ``text`` can name: by level, Hub id or path, whole or by their last part."""
    if not isinstance(text, str) or not text.strip():
        return set()
    wanted = _last_part(text)
    whole = {level for level in factor.levels if text.casefold() in _aliases(factor, level)}
    return whole or {
        level for level in factor.levels if wanted in {_last_part(alias) for alias in _aliases(factor, level)}
    }


def _aliases(factor: Factor, level: Level) -> set[str]:
    known = factor.properties.get(level, {})
    texts = [str(level), known.get("hub_id"), known.get("path")]
    return {text.casefold() for text in texts if isinstance(text, str) and text}


def _last_part(text: str) -> str:
    return PurePosixPath(text.replace("\\", "/").rstrip("/")).name.casefold()


def _base_model(survey: Survey, view: CellView, factor: Factor, level: Level) -> Iterator[Problem]:
    said = [("its provenance", _provenance_name(view, "base_model"))]
    if not view.is_adapter:
        said.append(("config.json", view.document("config.json").get("_name_or_path")))
    for source, text in said:
        named = names_level(text, factor)
        if named and level not in named:
            yield _contradiction("label-base-model", view, f"{source} names the base model {text!r}")
    base = survey.base_of(view)
    config = view.document("config.json")
    if base is None or not base.config or not config or view.is_adapter:
        return
    for key in SAME_ARCHITECTURE:
        if key in config and key in base.config and config[key] != base.config[key]:
            what = f"config.json has {key} {config[key]!r}, the base model has {base.config[key]!r}"
            yield _contradiction("label-base-model", view, what)


def _dataset(survey: Survey, view: CellView, factor: Factor, level: Level) -> Iterator[Problem]:
    data = view.cell.provenance.get("data")
    names = list(data) if isinstance(data, dict) else []
    named = set().union(*(names_level(name, factor) for name in names)) if names else set()
    mix = factor.properties.get(level, {}).get("mix")
    right = named in ({level}, set(mix)) if isinstance(mix, list) else level in named
    if named and not right:
        yield _contradiction("label-dataset", view, f"its provenance names the data {', '.join(map(repr, names))}")


def _method(survey: Survey, view: CellView, factor: Factor, level: Level) -> Iterator[Problem]:
    wanted = _method_kind(factor, level)
    if wanted is None or not view.weights or view.baseline:
        return
    if wanted == "adapter" and not view.is_adapter:
        yield _contradiction("label-method", view, "there is no adapter_config.json: these are full weights")
    elif wanted == "full" and view.is_adapter:
        yield _contradiction("label-method", view, "the artifact is an adapter (adapter_config.json)")
    rank = re.search(r"r(?:ank)?[-_=]?(\d+)", str(level).casefold()) if wanted == "adapter" else None
    found = view.document("adapter_config.json").get("r")
    if rank and isinstance(found, int) and found != int(rank.group(1)):
        yield _contradiction("label-method", view, f"adapter_config.json has rank {found}")


def _method_kind(factor: Factor, level: Level) -> str | None:
    """Return ``adapter`` or ``full`` when the level says which, else None."""
    text = str(level).casefold()
    if isinstance(level, bool) or text in ("true", "false", "yes", "no"):
        return ("adapter" if text in ("true", "yes") else "full") if "lora" in factor.name else None
    if re.search(r"(^|[^a-z])(q?lora|dora|adapter|ia3|peft)", text):
        return "adapter"
    return "full" if re.match(r"full(\Z|[^a-z])|fullft|full_?fine", text) else None


def _seed(survey: Survey, view: CellView, factor: Factor, level: Level) -> Iterator[Problem]:
    said = {"its provenance": view.cell.provenance.get("seed"), TRAINER_STATE: view.document(TRAINER_STATE).get("seed")}
    for source, seed in said.items():
        if isinstance(seed, int) and isinstance(level, int) and seed != level:
            yield _contradiction("label-seed", view, f"{source} has seed {seed}")


def _step(survey: Survey, view: CellView, factor: Factor, level: Level) -> Iterator[Problem]:
    for source, step in _recorded(view, "global_step"):
        if isinstance(level, int) and step != level:
            yield _contradiction("label-step", view, f"{source} has global_step {step}")


def _epoch(survey: Survey, view: CellView, factor: Factor, level: Level) -> Iterator[Problem]:
    for source, epoch in _recorded(view, "epoch"):
        if isinstance(level, (int, float)) and abs(epoch - level) >= 0.5:
            yield _contradiction("label-epoch", view, f"{source} has epoch {epoch}")


_BY_ROLE = {
    "base_model": _base_model, "dataset": _dataset, "method": _method, "seed": _seed, "step": _step, "epoch": _epoch,
}  # fmt: skip


def _recorded(view: CellView, key: str) -> list[tuple[str, int | float]]:
    """Return ``(source, number)`` from the trainer's state, or from provenance where the state is not there."""
    for source, found in ((TRAINER_STATE, view.document(TRAINER_STATE)), ("its provenance", view.cell.provenance)):
        value = found.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return [(source, value)]
    return []


def _folder_step(view: CellView) -> Iterator[Problem]:
    """A checkpoint folder that is named by its step must hold that step."""
    match = _STEP_FOLDER.search(view.cell.artifact_path or "")
    step = view.document(TRAINER_STATE).get("global_step")
    if match and isinstance(step, int) and step != int(match.group(1)):
        what = f"the folder is {view.cell.artifact_path}, but {TRAINER_STATE} has global_step {step}"
        yield _contradiction("label-step", view, what)


def _declared_steps(survey: Survey, view: CellView) -> Iterator[Problem]:
    """Where no factor takes the step, the settings may fix it for all cells."""
    if any(factor.role in ("step", "epoch") for factor in survey.study.factors):
        return
    declared = _setting(survey.study.settings, ("steps", "max_steps", "n_steps"), inside="training")
    step = view.document(TRAINER_STATE).get("global_step")
    if isinstance(declared, int) and isinstance(step, int) and step != declared:
        what = f"{TRAINER_STATE} has global_step {step}, the study's settings say {declared}"
        yield _contradiction("label-step", view, what)


def _declared_rank(survey: Survey, view: CellView) -> Iterator[Problem]:
    settings = survey.study.settings
    inner = settings.get("training") if isinstance(settings.get("training"), dict) else settings
    lora = inner.get("lora") if isinstance(inner.get("lora"), dict) else {}
    declared = lora.get("rank", lora.get("r", _setting(settings, ("lora_rank", "lora_r"), inside="training")))
    found = view.document("adapter_config.json").get("r")
    if isinstance(declared, int) and isinstance(found, int) and found != declared:
        what = f"adapter_config.json has rank {found}, the study's settings say {declared}"
        yield _contradiction("label-method", view, what)


def _setting(settings: Mapping[str, Any], names: tuple[str, ...], *, inside: str) -> Any:
    nested = settings.get(inside) if isinstance(settings.get(inside), dict) else {}
    return next((place[name] for place in (settings, nested) for name in names if name in place), None)


def _provenance_name(view: CellView, key: str) -> Any:
    value = view.cell.provenance.get(key)
    return value.get("name") if isinstance(value, dict) else value


def _base_digest(view: CellView) -> str | None:
    value = view.cell.provenance.get("base_model")
    digest = value.get("digest") if isinstance(value, dict) else None
    return digest if isinstance(digest, str) else None


def _data_digest(view: CellView) -> str | None:
    data = view.cell.provenance.get("data")
    if not isinstance(data, dict) or not data or not all(isinstance(value, str) for value in data.values()):
        return None
    return " ".join(sorted(data.values()))


def _digests_by_level(survey: Survey, role: str, digest_of, code: str) -> Iterator[Problem]:
    """Cells of one level must come from one input; the few that differ from the many are named.

    Factors of unknown meaning may choose among versions of the input, so cells are compared within their levels.
    """
    factor = survey.study.factor_with_role(role)
    if factor is None:
        return
    names = [other.name for other in survey.study.factors if other.role in (role, "size", "other")]
    groups: dict[tuple, list[tuple[CellView, str]]] = defaultdict(list)
    for view in survey.cells.values():
        digest = digest_of(view)
        if digest is not None and factor.name in view.cell.levels:
            groups[tuple(view.cell.levels.get(name) for name in names)].append((view, digest))
    for members in groups.values():
        level = members[0][0].cell.levels[factor.name]
        counts = Counter(digest for _, digest in members)
        usual, n_usual = counts.most_common(1)[0]
        for view, digest in members:
            if digest != usual:
                what = f"made from {role} {digest[:12]}…, while {n_usual} other cells of {level} record {usual[:12]}…"
                yield _contradiction(code, view, what)


def _same_data(survey: Survey) -> Iterator[Problem]:
    """Two datasets that are one file are one dataset."""
    factor = survey.study.factor_with_role("dataset")
    owners: dict[str, tuple[Level, CellView]] = {}
    told = set()
    for view in survey.cells.values() if factor else ():
        digest, level = _data_digest(view), view.cell.levels.get(factor.name)
        if digest is None:
            continue
        first, other = owners.setdefault(digest, (level, view))
        if first != level and level not in told:
            told.add(level)
            named = survey.other(other.cell.cell_id, view.cell.cell_id)
            what = f"was trained on the same bytes as {named}: {digest[:12]}…"
            yield _contradiction("label-dataset", view, what)


def _swapped(survey: Survey) -> Iterator[Problem]:
    """Compare files with the digests that training recorded in the provenance, where it did."""
    recorded: dict[str, str] = {}
    views = [view for view in survey.cells.values() if isinstance(view.cell.provenance.get(ARTIFACT_KEY), dict)]
    for view in views:
        for inner, sha256 in view.cell.provenance[ARTIFACT_KEY].items():
            recorded.setdefault(f"{inner}\0{sha256}", view.cell.cell_id)
    for view in views:
        for inner, sha256 in view.cell.provenance[ARTIFACT_KEY].items():
            file = view.file(inner)
            if file is None or file.sha256 in (None, sha256):
                continue
            owner = recorded.get(f"{inner}\0{file.sha256}")
            what = f"{inner} is not the file that training recorded ({str(sha256)[:12]}…)"
            if owner:
                what += f"; it is that of {survey.other(owner, view.cell.cell_id)}"
            yield problem("label-swapped", view.where, what, cell_id=view.cell.cell_id, path=file.path)


def _contradiction(code: str, view: CellView, what: str) -> Problem:
    return problem(code, view.where, what, cell_id=view.cell.cell_id)
