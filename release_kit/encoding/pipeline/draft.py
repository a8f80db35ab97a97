"""Writes a first ``encoding.yaml`` for a BIDS dataset: its responses, levels, languages, annotators, runs, TRs.

What was found stands in comments, what nobody can tell from a dataset (which models, what is asked) says ``FILL IN``;
``encoding check`` names every such place until it is filled in. Headers and annotations are read, no voxel.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.bids.validate.survey import Entry, survey_dataset
from release_kit.core.errors import ReleaseKitError
from release_kit.core.grammar.values import FILL_IN
from release_kit.core.wording import counted
from release_kit.encoding.data.layout import Dataset, ResponsesSpec, open_dataset
from release_kit.encoding.data.masks import SURFACE, VOLUME
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.errors import AnalysisError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_S, DROP_S, COMPONENTS = 40.0, 20.0, 100
_KINDS = {".nii": VOLUME, ".nii.gz": VOLUME, ".func.gii": SURFACE}
_MASKS = {VOLUME: (".nii", ".nii.gz"), SURFACE: (".shape.gii", ".label.gii", ".func.gii")}


@dataclass(frozen=True, kw_only=True, order=True)
class Candidate:
    """Recordings that could be the responses: those of a derivative (or raw ones) with one kind, space and desc."""

    derivative: str
    kind: str
    space: str
    desc: str


def draft_analysis(root: Path, folder: Path) -> str:
    """Return the YAML text of a first analysis of a dataset.

    Args:
        root: of the BIDS dataset.
        folder: where the file will lie; paths lead from there.

    Raises:
        AnalysisError: there is no recording in it, or none that can be opened.
        ReleaseKitError: it is no dataset.
    """
    entries = survey_dataset(root).entries
    found = _candidates(entries)
    if not found:
        step = "name a BIDS dataset; release-kit bids convert makes one of recordings"
        raise AnalysisError("there is no sub-*_task-*_bold recording here", where=str(root), next_step=step)
    chosen = max(found, key=lambda each: (bool(each.derivative), found[each], bool(each.space), each))
    mask = _mask(entries, chosen)
    spec = ResponsesSpec(
        derivative=chosen.derivative or None, kind=chosen.kind, space=chosen.space or None, desc=chosen.desc or None,
        mask=mask,
    )  # fmt: skip
    dataset = open_dataset(root, spec)
    runs, problems = _runs(dataset)
    lines = [
        "# A first analysis, written by looking at a dataset. What was found stands in comments; what nobody can tell",
        f"# from a dataset says {FILL_IN}; `release-kit encoding check` names it. Keys: docs/formats/encoding.md",
        "schema_version: 1",
        f"name: {_text(_name(root))}",
        f'description: "{FILL_IN}: what is asked, in a sentence or two"',
        *_dataset_lines(root, folder, chosen, mask, found),
        *_subject_lines(dataset, runs, problems),
        *_sample_lines(runs),
        "delays: {kind: concatenate, seconds: [4, 6, 8]}  # behind the stimulus, side by side",
        *_feature_lines(dataset),
        f"statistics: {{permutations: 1000, block_s: {_block_s(runs):g}, bootstrap: 1000}}"
        "  # blocks longer than the autocorrelation",
        "# regions: atlas.nii.gz  # a label map, or a TSV of voxel and region",
        "mode: corrected  # both: and what a published code's choices change",
        "seed: 0",
    ]
    return "\n".join(lines) + "\n"


def _candidates(entries: Sequence[Entry]) -> Counter[Candidate]:
    found: Counter[Candidate] = Counter()
    for entry in entries:
        kind, names = _KINDS.get(entry.extension), entry.entities
        if kind is None or entry.suffix != "bold" or not {"sub", "task"} <= set(names):
            continue
        parts = entry.path.split("/")
        derivative = parts[1] if parts[0] == "derivatives" else ""
        if not derivative and not parts[0].startswith("sub-"):
            continue
        key = Candidate(derivative=derivative, kind=kind, space=names.get("space", ""), desc=names.get("desc", ""))
        found[key] += 1
    return found


def _mask(entries: Sequence[Entry], chosen: Candidate) -> str | None:
    """Return the path of a mask of the chosen responses, with names in braces; None where there is none."""
    above = f"derivatives/{chosen.derivative}/" if chosen.derivative else ""
    for entry in sorted(entries, key=lambda each: (len(each.path), each.path)):
        names = entry.entities
        if entry.suffix != "mask" or entry.extension not in _MASKS[chosen.kind] or not entry.path.startswith(above):
            continue
        if names.get("space", chosen.space) != chosen.space or "run" in names or "task" in names:
            continue
        path = entry.path.removeprefix(above)
        path = path.replace(f"sub-{names['sub']}", "sub-{subject}") if "sub" in names else path
        path = path.replace(f"hemi-{names['hemi']}", "hemi-{hemi}") if "hemi" in names else path
        if chosen.kind == VOLUME or "{hemi}" in path:
            return path
    return None


def _runs(dataset: Dataset) -> tuple[dict[str, tuple[RunInfo, ...]], list[str]]:
    runs, problems = {}, []
    for subject in dataset.subjects:
        try:
            runs[subject] = dataset.runs(subject)
        except ReleaseKitError as error:
            problems.append(f"# sub-{subject} cannot be used as it is: {' '.join(str(error).split())}")
    if not runs:
        raise AnalysisError("no subject can be used:\n" + "\n".join(problems), where=str(dataset.root))
    return runs, problems


def _dataset_lines(
    root: Path, folder: Path, chosen: Candidate, mask: str | None, found: Counter[Candidate]
) -> Iterator[str]:
    path = Path(os.path.relpath(root.resolve(), folder.resolve())).as_posix()
    yield "dataset:"
    yield f"  path: {_text(path)}"
    said = {"derivative": chosen.derivative, "kind": chosen.kind, "space": chosen.space, "desc": chosen.desc}
    yield from (f"  {name}: {_text(value)}" for name, value in said.items() if value)
    yield f"  mask: {_text(mask)}" if mask else "  # mask: which voxels; without it those that change"
    for other, n in sorted(found.items()):
        if other != chosen:
            words = ", ".join(
                value for value in (other.derivative or "raw", other.kind, other.space, other.desc) if value
            )
            yield f"  # also here: {words} ({counted(n, 'file')})"


def _subject_lines(dataset: Dataset, runs: dict[str, tuple[RunInfo, ...]], problems: Sequence[str]) -> Iterator[str]:
    first = next(iter(runs.values()))
    trs = sorted({run.tr_s for each in runs.values() for run in each})
    lengths = sorted({run.n_volumes for each in runs.values() for run in each})
    titles = dict.fromkeys(run.title for run in first)
    yield f"# {counted(len(dataset.subjects), 'subject')}: {', '.join(dataset.subjects)}"
    yield (
        f"# sub-{next(iter(runs))}: {counted(len(first), 'run')} of {counted(len(titles), 'title')} "
        f"({', '.join(titles)}), {lengths[0]}{'' if len(lengths) == 1 else f' to {lengths[-1]}'} volumes, "
        f"TR {', '.join(f'{tr_s:g}' for tr_s in trs)} s"
    )
    if len(trs) > 1:
        yield "# TRs differ: analyse runs of one TR (samples: {leave_out: [...]}), or resample them"
    yield from problems
    yield f"subjects: [{', '.join(_text(subject) for subject in runs)}]"


def _sample_lines(runs: dict[str, tuple[RunInfo, ...]]) -> Iterator[str]:
    of_title = Counter(run.title for run in next(iter(runs.values())))
    alone = sorted(title for title, n in of_title.items() if n == 1)
    drop = DROP_S if min(run.shown_s for each in runs.values() for run in each) > 4 * DROP_S else 0
    if not alone:
        test, why = "last-run", "the last run of each title; models learn from its other runs and all other titles"
    elif len(of_title) > 2:
        test, why = "leave-one-title-out", f"each title in turn, since of {', '.join(alone)} there is one run only"
    else:
        test, why = FILL_IN, "of so few runs that only you can choose: last-run, or runs by name"
    folds = "title" if len(of_title) > 1 else "run"
    yield f"# held out: {why}"
    yield f"samples: {{drop_start_s: {drop:g}, test: {_text(test)}, folds: {folds}}}"


def _feature_lines(dataset: Dataset) -> Iterator[str]:
    try:
        spoken = _levels(dataset.annotations())
    except ReleaseKitError as error:
        yield f"# annotations cannot be read: {' '.join(str(error).split())}"
        yield f'features:\n  words: {{level: "{FILL_IN}", kind: bag-of-words}}'
        return
    several = len({level for level, _ in spoken}) < len(spoken)
    names: list[tuple[str, str]] = []
    yield "features:"
    for (level, language), (annotators, n) in spoken.items():
        stem = _slug(f"{level}-{language}" if several else level)
        names.append((f"{stem}-model", f"{stem}-words"))
        use = f"level: {_text(level)}, language: {_text(language)}"
        yield f"  # {counted(n, 'annotation')} by {', '.join(annotators)}"
        yield f'  {stem}-model: {{{use}, kind: causal, model: "{FILL_IN}", pca: {COMPONENTS}}}'
        yield f"  {stem}-words: {{{use}, kind: bag-of-words, pca: {COMPONENTS}}}"
    if len(names) > 1:
        shown = ", ".join(model for model, _ in names[:8])
        yield f"bands: {{levels: {{features: [{shown}], n_iter: 20}}}}  # what each level explains alone"
    yield "compare:"
    for model, words in names:
        yield f"  - {{name: {model} against words, a: {model}, b: {words}}}"


def _levels(table: "pa.Table") -> dict[tuple[str, str], tuple[list[str], int]]:
    """Return (level, language) → its annotators and the number of its annotations."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in table.select(["level", "language", "annotator"]).to_pylist():
        found.setdefault((row["level"], row["language"]), Counter())[row["annotator"]] += 1
    return {key: (sorted(who), sum(who.values())) for key, who in sorted(found.items())}


def _block_s(runs: dict[str, tuple[RunInfo, ...]]) -> float:
    """Return the usual block, or a quarter of the shortest run where that is less: a run must hold several."""
    shortest = min(run.shown_s for each in runs.values() for run in each)
    return min(BLOCK_S, max(1.0, (shortest - DROP_S * (shortest > 4 * DROP_S)) // 4))


def _name(root: Path) -> str:
    from release_kit.core.canonical import read_json

    try:
        return str(read_json(root / "dataset_description.json")["Name"])
    except (ReleaseKitError, KeyError, TypeError):
        return root.resolve().name


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()) or "level"


def _text(value: Any) -> str:
    """Return text as YAML that is read back as the same text; in quotes only where it must be."""
    plain = str(value).replace("-", "").replace("_", "")
    simple = plain.isascii() and plain.isalnum() and str(value)[:1].isalpha()
    words = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    return str(value) if simple and str(value).lower() not in words else json.dumps(str(value), ensure_ascii=False)
