"""The table of annotations of a BIDS dataset, from ``stimuli/`` or, where that is not here, from the cuts to runs.

A download of one level has the files of that level only: files whose content is not here are left out.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from release_kit.bids.annotations import bep044
from release_kit.bids.annotations.problems import AnnotationError, AnnotationProblem
from release_kit.bids.annotations.reread import read_dataset_annotations
from release_kit.bids.annotations.runs import FOLDER
from release_kit.bids.annotations.table import Row, annotation_table
from release_kit.bids.annotations.times import parse_span
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.bids.validate.survey import parse_name
from release_kit.core.canonical import read_json
from release_kit.core.errors import ReleaseKitError, StudyError

_FACTS = {"AnnotationLevel": "level", "Annotator": "annotator", "Language": "language"}
_COLUMNS = ("text", "speaker", "stim_id", "stim_onset", "stim_duration")


def read_bids_annotations(root: Path) -> pa.Table:
    """Return every annotation whose file is here, in the time of its stimulus.

    Raises:
        AnnotationError: what is wrong with the files, all of it.
        StudyError: there are none.
    """
    table = None
    if (root / bep044.ANNOTATIONS_TABLE).exists():
        table = read_dataset_annotations(root)
    if table is None or not table.num_rows:
        table = annotation_table(_rows_of_cuts(root))
    if not table.num_rows:
        step = "get the level that is analysed (`release-kit encoding fetch`), or convert with annotations"
        raise StudyError(
            f"no annotation is here, neither in stimuli/ nor in {FOLDER}/", where=str(root), next_step=step
        )
    return table


def _rows_of_cuts(root: Path) -> list[Row]:
    """Return the rows of ``derivatives/annotations``: what several runs show of one annotation is one row."""
    found: dict[Row, int] = {}
    problems: list[AnnotationProblem] = []
    for path in sorted((root / FOLDER).glob("task-*_desc-*_events.tsv")):
        if not path.exists():
            continue
        try:
            counts: dict[Row, int] = {}
            for row in _cut_rows(path):
                counts[row] = counts.get(row, 0) + 1
            for row, n in counts.items():
                found[row] = max(found.get(row, 0), n)
        except AnnotationError as error:
            problems += error.problems
        except ReleaseKitError as error:
            problems.append(AnnotationProblem(path=error.where or str(path), what=error.what))
    if problems:
        raise AnnotationError(problems)
    return [row for row, n in found.items() for _ in range(n)]


def _cut_rows(path: Path) -> Iterator[Row]:
    names, _, _ = parse_name(path.name)
    facts = _sidecar_facts(path, names)
    header, cells = parse_tsv(path.read_bytes(), str(path))
    if missing := [name for name in _COLUMNS if name not in header]:
        raise AnnotationError([AnnotationProblem(path=str(path), what=f"its columns lack {', '.join(missing)}")])
    problems = []
    for n, row in enumerate(cells, start=2):
        values = dict(zip(header, row, strict=True))
        try:
            onset_s, duration_s = parse_span(values["stim_onset"], values["stim_duration"])
        except ValueError as error:
            problems.append(AnnotationProblem(path=str(path), what=str(error), line=n))
            continue
        yield Row(
            stim_id=bep044.stimulus_label(values["stim_id"] or ""), annot_id=names["desc"], onset_s=onset_s,
            duration_s=duration_s, text=values["text"], speaker=values["speaker"], **facts,
        )  # fmt: skip
    if problems:
        raise AnnotationError(problems)


def _sidecar_facts(path: Path, names: dict[str, str]) -> dict[str, str]:
    """Return level, annotator and language from the sidecars that apply, the nearest last."""
    said: dict[str, object] = {}
    stems = [
        f"desc-{names['desc']}",
        f"task-{names['task']}_desc-{names['desc']}",
        path.name.removesuffix("_events.tsv"),
    ]
    for stem in stems:
        sidecar = path.with_name(f"{stem}_events.json")
        if sidecar.exists():
            said.update(read_json(sidecar))
    missing = [key for key in _FACTS if not isinstance(said.get(key), str)]
    if missing:
        what = f"no sidecar says its {', '.join(missing)} (looked for {stems[1]}_events.json)"
        raise AnnotationError([AnnotationProblem(path=str(path), what=what)])
    return {name: str(said[key]) for key, name in _FACTS.items()}
