"""The images of a dataset, one job each: which recording becomes which file. Pure; nothing is opened here.

A job carries everything that a worker process needs. Reading and writing is ``images.py``, deciding what is to be done
at all ``decide.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.bids.convert.names import PREPROCESSED, derivative_image, image_name
from release_kit.bids.recipe.model import Anatomy, MatDerivative, Recipe, Recording, Run
from release_kit.bids.recipe.paths import (
    anatomy_names,
    anatomy_source,
    run_names,
    run_source,
    source_path,
    why_underived,
)


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """One image of the dataset: where it comes from and what happens to it on the way."""

    target: str
    """Path inside the dataset."""
    subject: str
    source: Path
    recording: Recording
    role: str
    """``run``, ``anatomy`` or ``derivative``."""
    item: Run | Anatomy | MatDerivative
    run: Run | None = None
    """The run that is recorded, or that a derivative is made of."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the reader, with file names resolved."""
    skip: int = 0
    """Volumes to leave out at the start."""
    tr_s: float | None = None
    deface: bool = False
    picture: Path | None = None
    """Where the picture for review of the defacing goes; never inside the dataset."""

    @property
    def session(self) -> str | None:
        """Session label, None where the study has none."""
        return getattr(self.run or self.item, "session", None)


def plan_images(recipe: Recipe, *, pictures: Path | None = None) -> list[ImageJob]:
    """Return the jobs of every image that the recipe promises, in the order of their paths.

    Args:
        recipe: the study.
        pictures: folder for pictures of defacing; None draws none.
    """
    jobs = [*_runs(recipe), *_anatomies(recipe, pictures), *_derivatives(recipe)]
    return sorted(jobs, key=lambda job: job.target)


def _runs(recipe: Recipe) -> Iterator[ImageJob]:
    for subject in recipe.subjects:
        for run in recipe.runs:
            if subject.label in run.missing:
                continue
            recording = run.recording_of(subject.label)
            yield ImageJob(
                target=image_name(subject.label, run), subject=subject.label, source=run_source(recipe, run, subject),
                recording=recording, role="run", item=run, run=run, skip=run.dummy_scans, tr_s=run.tr_s,
                options=_options(recipe, recording, run_names(run, subject)),
            )  # fmt: skip


def _anatomies(recipe: Recipe, pictures: Path | None) -> Iterator[ImageJob]:
    for subject in recipe.subjects:
        for anatomy in recipe.anatomy:
            if subject.label in anatomy.missing:
                continue
            target, recording = image_name(subject.label, anatomy), anatomy.recording_of(subject.label)
            picture = pictures / f"{Path(target).name.split('.')[0]}.png" if pictures and anatomy.deface else None
            yield ImageJob(
                target=target, subject=subject.label, source=anatomy_source(recipe, anatomy, subject),
                recording=recording, role="anatomy", item=anatomy, deface=anatomy.deface, picture=picture,
                options=_options(recipe, recording, anatomy_names(anatomy, subject)),
            )  # fmt: skip


def _derivatives(recipe: Recipe) -> Iterator[ImageJob]:
    """Every functional run that has a file in the derivative's pattern; a run without one is the recipe check's."""
    for derivative in recipe.derivatives:
        for subject in recipe.subjects:
            for run in recipe.runs:
                if subject.label in run.missing or why_underived(derivative, subject.label, run) is not None:
                    continue
                names = run_names(run, subject)
                source = run_source(recipe, run, subject, derivative.recording)
                target = f"derivatives/{derivative.name}/{derivative_image(subject.label, run, PREPROCESSED)}"
                yield ImageJob(
                    target=target, subject=subject.label, source=source, recording=derivative.recording,
                    role="derivative", item=derivative, run=run, tr_s=run.tr_s,
                    options=_options(recipe, derivative.recording, names),
                )  # fmt: skip


FILE_OPTIONS = ("mask", "reference")
"""Options of a reader that name a file, by a pattern like the recording's own."""


def _options(recipe: Recipe, recording: Recording, names: dict[str, Any]) -> dict[str, Any]:
    options = dict(recording.options)
    for key in FILE_OPTIONS:
        if isinstance(options.get(key), str):
            options[key] = str(source_path(recipe, options[key], **names))
    return options
