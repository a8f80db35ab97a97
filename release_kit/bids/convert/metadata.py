"""Every describing file of a dataset but those of annotations: descriptions, tables, sidecars, reports.

What each file says is ``dataset_files.py``, ``readme.py``, ``published.py`` and ``sidecars/``; this file gathers them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from release_kit.bids.convert import dataset_files
from release_kit.bids.convert.contents import Content, collected, of_bytes
from release_kit.bids.convert.dataset_files import json_file
from release_kit.bids.convert.decide import all_problems
from release_kit.bids.convert.jobs import ImageJob
from release_kit.bids.convert.names import CODE, SIDECAR_REPORT, image_name, scans_name, sidecar_of
from release_kit.bids.convert.published import published_recipe
from release_kit.bids.convert.readme import readme
from release_kit.bids.recipe.model import Anatomy, Recipe, Run
from release_kit.core.errors import StudyError

if TYPE_CHECKING:
    from release_kit.bids.recordings.header import ImageFacts

SEEDS = frozenset({"CHANGES"})
"""Begun once; every version then adds to them."""


def metadata_outputs(
    recipe: Recipe,
    jobs: list[ImageJob],
    facts: "Mapping[str, ImageFacts]",
    extras: Mapping[str, Mapping[str, Any]],
    out: Path,
) -> dict[str, Content]:
    """Return path → content.

    Args:
        recipe: the study.
        jobs: its images.
        facts: target of each image → what the header of its source says.
        extras: target of each image → what DICOM said of it ({} or absent: nothing).
        out: the dataset, to keep the secret of the date shift out of it.
    """
    files = [*_whole(recipe), *_sidecars(recipe, jobs, facts, extras), *_scans(recipe, jobs, extras, out)]
    for derivative in recipe.derivatives:
        files += [
            (
                f"derivatives/{derivative.name}/dataset_description.json",
                dataset_files.derivative_description(recipe, derivative),
            ),
            (f"derivatives/{derivative.name}/README.md", dataset_files.derivative_readme(recipe, derivative)),
        ]
    return collected((path, of_bytes(data)) for path, data in files)


def _whole(recipe: Recipe) -> Iterator[tuple[str, bytes]]:
    table, described = dataset_files.participants(recipe)
    yield "dataset_description.json", dataset_files.dataset_description(recipe.dataset)
    yield "README.md", readme(recipe)
    yield "CITATION.cff", dataset_files.citation(recipe.dataset)
    yield "CHANGES", dataset_files.changes(recipe.dataset)
    yield "participants.tsv", table
    yield "participants.json", described
    yield f"{CODE}/recipe.yaml", published_recipe(recipe)


def _sidecars(recipe: Recipe, jobs: list[ImageJob], facts: Any, extras: Any) -> Iterator[tuple[str, bytes]]:
    from release_kit.bids.sidecars.completeness import completeness
    from release_kit.bids.sidecars.facts import sidecar

    made, problems = [], []
    for job in jobs:
        try:
            if isinstance(job.item, Run | Anatomy):
                made.append(sidecar(recipe, job.item, facts[job.target], extras.get(job.target) or {}))
                yield sidecar_of(job.target), json_file(made[-1].values)
            else:
                yield sidecar_of(job.target), json_file(_derived(recipe, job))
        except StudyError as error:
            problems.append(error)
    if problems:
        raise all_problems(problems)
    report = completeness(made).to_dict()
    report["suffixes"] += _events_report(recipe)
    yield SIDECAR_REPORT, json_file(report)


def _events_report(recipe: Recipe) -> list[dict[str, Any]]:
    """Return how complete the sidecars of events are, in keys that are theirs and not those of the recording."""
    from release_kit.bids.schema import sidecar_keys
    from release_kit.bids.sidecars.completeness import REPORTED, KeyCount, SuffixReport

    n = sum(subject.label not in run.missing for run in recipe.runs if run.shows for subject in recipe.subjects)
    if not n:
        return []
    said, of_image = recipe.sidecars.get("events", {}), sidecar_keys("bold", "func")
    keys = [
        KeyCount(key=key, level=level, n_present=n if key in said else 0, n_scrubbed=0, n_files=n)
        for key, level in sorted(sidecar_keys("events", "func").items())
        if level in REPORTED and key not in of_image
    ]
    return [SuffixReport(suffix="events", datatype="func", n_files=n, keys=tuple(keys)).to_dict()]


def _derived(recipe: Recipe, job: ImageJob) -> dict[str, Any]:
    """Return the sidecar of a derived image: what it is and of which recording it was made.

    Raises:
        StudyError: whether the skull is in it is required, and nothing says it.
    """
    columns: Mapping[str, Any] = getattr(job.item, "columns", {})
    if job.run is None or not ("SkullStripped" in columns or "mask" in job.options):
        raise StudyError(
            "whether the skull was taken out must be said of a derived image; neither a mask nor the recipe says it",
            where=f"derivatives.{getattr(job.item, 'name', '')}",
            next_step="write `columns: {SkullStripped: true}` (or false) there",
        )
    values: dict[str, Any] = {
        "TaskName": recipe.tasks[job.run.task].name,
        "RepetitionTime": job.run.tr_s,
        "Description": job.item.description,
        "Sources": [f"bids:raw:{image_name(job.subject, job.run)}"],
    }
    if "mask" in job.options:
        values["SkullStripped"] = True  # outside the mask everything is 0
    return values | dict(columns)


def _scans(recipe: Recipe, jobs: list[ImageJob], extras: Any, out: Path) -> Iterator[tuple[str, bytes]]:
    shift = _shifter(recipe, extras, out)
    tables: dict[str, list[tuple[str, str | None]]] = {}
    for job in jobs:
        if job.role != "derivative":
            path = scans_name(job.subject, job.session)
            relative = PurePosixPath(job.target).relative_to(PurePosixPath(path).parent).as_posix()
            tables.setdefault(path, []).append((relative, shift(job)))
    for path, rows in tables.items():
        yield path, dataset_files.scans(rows)


def _shifter(recipe: Recipe, extras: Mapping[str, Mapping[str, Any]], out: Path):
    """Return the function that gives the shifted acquisition time of a job, None where there is none to give.

    Without a secret to shift by, no time is given: the true one would identify.
    """
    from release_kit.bids.sidecars.privacy import acquisition_time, date_shift_days, load_shift_key, shifted

    times = {target: time for target, extra in extras.items() if (time := acquisition_time(extra)) is not None}
    if recipe.privacy.shift_key is None or not times:
        return lambda job: None
    key = load_shift_key(recipe.folder / recipe.privacy.shift_key, dataset=out)

    def shift(job: ImageJob) -> str | None:
        time = times.get(job.target)
        return shifted(time, date_shift_days(job.subject, key)) if time else None

    return shift
