"""The names that conversion gives: of images, sidecars and tables. The order of entities is the schema's."""

from pathlib import PurePosixPath
from typing import Any

from release_kit.bids.recipe.model import Anatomy, Run
from release_kit.bids.schema import bids_name

CODE = "code/release_kit"
SIDECAR_REPORT = f"{CODE}/sidecar_report.json"
"""How complete the sidecars are."""
PREPROCESSED = "preproc"
"""``desc`` of preprocessed responses that are taken along."""


def image_name(subject: str, item: Run | Anatomy, extension: str = ".nii.gz") -> str:
    """Return the path of a recording inside the dataset, ``sub-01/func/sub-01_task-film_run-01_bold.nii.gz``."""
    return bids_name(subject=subject, suffix=item.suffix, extension=extension, **_entities(item))


def derivative_image(subject: str, run: Run, desc: str, extension: str = ".nii.gz") -> str:
    """Return the path of a derived image inside its derivative dataset."""
    return bids_name(subject=subject, desc=desc, suffix=run.suffix, extension=extension, **_entities(run))


def scans_name(subject: str, session: str | None, extension: str = ".tsv") -> str:
    """Return the path of the table of a subject's (and session's) recordings."""
    parts = [f"sub-{subject}"] + ([f"ses-{session}"] if session else [])
    return f"{'/'.join(parts)}/{'_'.join(parts)}_scans{extension}"


def sidecar_of(image: str) -> str:
    """Return the path of the JSON beside an image."""
    path = PurePosixPath(image)
    return str(path.with_name(path.name.split(".")[0] + ".json"))


def _entities(item: Run | Anatomy) -> dict[str, Any]:
    found: dict[str, Any] = {"session": item.session} if item.session else {}
    if isinstance(item, Run):
        found |= {"task": item.task, "run": item.run}
    return found
