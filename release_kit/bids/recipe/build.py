"""Makes the records of ``model.py`` from values that were read and found good; fills in what follows from others.

Run defaults (``recordings``), the start of a span that is not said, and the levels that the study uses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.model import (
    Anatomy,
    AnnotationSource,
    DatasetFacts,
    Level,
    MatDerivative,
    Privacy,
    Recipe,
    Recording,
    Run,
    Shown,
    Stimulus,
    Subject,
    Task,
)


def build_recipe(
    values: Mapping[str, Any], *, folder: Path, sources: Path | None, vocabulary: Mapping[str, Level]
) -> Recipe:
    """Return the recipe of checked values (see ``values.read_record``).

    Args:
        values: every key of the grammar, none of them broken.
        folder: where the recipe lies.
        sources: where its sources lie, when the caller knows better than the recipe.
        vocabulary: levels that ship with release_kit.
    """
    if sources is None and values["sources"] is not None:
        sources = folder / values["sources"]
    declared = {name: Level(name=name, **value) for name, value in values["levels"].items()}
    used = {source["level"] for source in values["annotations"]}
    return Recipe(
        folder=folder,
        sources=sources,
        dataset=DatasetFacts(**values["dataset"]),
        subjects=tuple(Subject(label=label, **value) for label, value in values["subjects"].items()),
        tasks={label: Task(label=label, **value) for label, value in values["tasks"].items()},
        stimuli={label: Stimulus(label=label, **value) for label, value in values["stimuli"].items()},
        runs=_runs(values["runs"], values["recordings"]),
        anatomy=tuple(_anatomy(value) for value in values["anatomy"]),
        levels={name: level for name, level in vocabulary.items() if name in used} | declared,
        annotations=tuple(AnnotationSource(**value) for value in values["annotations"]),
        derivatives=tuple(MatDerivative(recording=_recording(v), **_less(v)) for v in values["derivatives"]),
        sidecars=values["sidecars"],
        privacy=Privacy(**values["privacy"]),
        allow=tuple({name: text for name, text in entry.items() if text is not None} for entry in values["allow"]),
    )


def _runs(runs: tuple[Mapping[str, Any], ...], defaults: Mapping[str, Any]) -> tuple[Run, ...]:
    """Fill the defaults in; an overlap holds for every run but the first of its stimulus."""
    before: dict[str, Shown] = {}
    result = []
    for run in runs:
        shows = None if run["shows"] is None else _shown(run["shows"], defaults, before)
        if shows is not None:
            before[shows.stimulus] = shows
        merged = {name: value for name, value in run.items() if name != "shows"}
        for name in ("pattern", "kind", "options", "tr_s", "dummy_scans", "session", "suffix"):
            merged[name] = defaults[name] if run[name] is None else run[name]
        others = {**defaults["subjects"], **(run["subjects"] or {})}
        merged["subjects"] = {label: _recording(_over(merged, other)) for label, other in others.items()}
        result.append(Run(recording=_recording(merged), shows=shows, **_less(merged)))
    return tuple(result)


def _anatomy(value: Mapping[str, Any]) -> Anatomy:
    subjects = {label: _recording(_over(value, other)) for label, other in value["subjects"].items()}
    return Anatomy(recording=_recording(value), **{**_less(value), "subjects": subjects})


def _over(common: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recording of a subject; options of one kind mean nothing to another."""
    said = {name: item for name, item in other.items() if item is not None}
    kept = {} if said.get("kind", common["kind"]) != common["kind"] else {"options": common["options"]}
    return {"pattern": common["pattern"], "kind": common["kind"], "options": None, **kept, **said}


def _shown(value: Mapping[str, Any], defaults: Mapping[str, Any], before: Mapping[str, Shown]) -> Shown:
    last = before.get(value["stimulus"])
    first = last is None or value["start_s"] == 0
    overlap = value["overlap_s"] if value["overlap_s"] is not None else 0.0 if first else float(defaults["overlap_s"])
    start = value["start_s"]
    if start is None:
        start = 0.0 if last is None else last.end_s - overlap
    onset = float(defaults["onset_s"]) if value["onset_s"] is None else value["onset_s"]
    return Shown(
        stimulus=value["stimulus"],
        start_s=start,
        duration_s=value["duration_s"],
        onset_s=onset,
        overlap_s=overlap,
    )


def _recording(value: Mapping[str, Any]) -> Recording:
    return Recording(pattern=value["pattern"], kind=value["kind"], options=value["options"] or {})


def _less(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name not in ("pattern", "kind", "options")}
