"""Cleaned responses of a subject on disk, so that they are cleaned once and read by tiles whatever their size.

They lie in the analysis' state folder, which may be thrown away. A voxel with a value that is no number is 0 there and
listed: it is never scored.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core.canonical import digest, document_bytes, read_json
from release_kit.core.errors import RecordError
from release_kit.core.files import STATE_FOLDER, write_atomic, write_error
from release_kit.core.wording import counted
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.data.clean import inspect
from release_kit.encoding.data.layout import Dataset
from release_kit.encoding.data.problems import DataError, DataProblem, refuse
from release_kit.encoding.data.responses import collect_responses
from release_kit.encoding.data.values import named_runs
from release_kit.encoding.pipeline.choices import Choices
from release_kit.encoding.pipeline.identity import code_digest, responses_identity
from release_kit.encoding.pipeline.inputs import Inputs, SubjectPlan

FOLDER = Path(STATE_FOLDER) / "responses"


@dataclass(frozen=True, kw_only=True, eq=False)
class Cleaned:
    """Responses of a subject's samples, training rows of its first split first.

    Attributes:
        values: (n_samples, n_voxels) float32, mapped from disk.
        place: (n_samples,) where each row of the samples lies in ``values``.
        nonfinite: (n_voxels,) bool, voxels with a value that is no number; they hold zeros.
        constant: (n_voxels,) bool, voxels that never change.
        text: what is to be said of voxels that cannot be scored.
        home: folder of the file.
    """

    values: FloatArray
    place: npt.NDArray[np.int64]
    nonfinite: npt.NDArray[np.bool_]
    constant: npt.NDArray[np.bool_]
    text: str
    home: Path

    @property
    def n_voxels(self) -> int:
        """The number of voxels."""
        return self.values.shape[1]

    def rows(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """Return the responses of these rows of samples: a view where they follow one another, else a copy."""
        places = self.place[rows]
        if len(places) and np.array_equal(places, np.arange(places[0], places[0] + len(places))):
            return self.values[places[0] : places[0] + len(places)]
        return self.values[places]

    def columns(self, rows: npt.NDArray[np.int64], voxels: slice) -> FloatArray:
        """Return the responses of some voxels in these rows of samples; nothing else is read."""
        return self.values[:, voxels][self.place[rows]]


def cleaned_responses(
    inputs: Inputs, plan: SubjectPlan, choices: Choices, folder: Path, say: Callable[[str], None] | None = None
) -> Cleaned:
    """Return the cleaned responses of a subject, made now or found from before.

    Args:
        inputs: the dataset that they are read from.
        plan: samples of the subject.
        choices: what is taken out.
        folder: of the analysis.
        say: told the name of each run that is cleaned.

    Raises:
        DataError: every run that cannot be read.
        ReleaseKitError: the disk is full.
    """
    identity = {**responses_identity(inputs, plan, choices), "code": code_digest(("data",)), "train": plan.key}
    home = folder / FOLDER / f"sub-{plan.subject}_{digest(identity)[:16]}"
    order = np.argsort(~plan.samples.train, kind="stable")
    facts = _facts(home)
    if facts is None:
        facts = _make(inputs.dataset, plan, choices, home, order, say)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    values = np.load(home / "values.npy", mmap_mode="r")
    marked = {name: np.zeros(values.shape[1], bool) for name in ("nonfinite", "constant")}
    for name, voxels in marked.items():
        voxels[facts[name]] = True
    return Cleaned(values=values, place=place, **marked, text=facts["text"], home=home)


def remove_cleaned(folder: Path) -> None:
    """Throw the cleaned responses away; they are made again where they are needed."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _facts(home: Path) -> dict[str, Any] | None:
    try:
        facts = read_json(home / "facts.json")
        whole = (home / "values.npy").stat().st_size == facts["size_bytes"]
        return facts if whole and "constant" in facts else None
    except (RecordError, OSError, KeyError, TypeError):
        return None


def _make(
    dataset: Dataset,
    plan: SubjectPlan,
    choices: Choices,
    home: Path,
    order: npt.NDArray[np.int64],
    say: Callable[[str], None] | None,
) -> dict[str, Any]:
    samples = plan.samples
    place = np.empty(samples.n, np.int64)
    place[order] = np.arange(samples.n)
    n_voxels = dataset.mask(plan.subject).n_voxels
    nonfinite = np.zeros(n_voxels, bool)
    still_in_run = np.zeros(n_voxels, bool)
    broken, resting = [], []
    problems: list[DataProblem] = []
    try:
        home.mkdir(parents=True, exist_ok=True)
        shape = (samples.n, n_voxels)
        values = np.lib.format.open_memmap(home / "values.npy", mode="w+", dtype=np.float32, shape=shape)
    except OSError as error:
        raise write_error(home, error) from error
    for part in samples.borders:
        chosen = np.zeros(samples.n, bool)
        chosen[part] = True
        try:
            y = collect_responses(dataset, plan.subject, samples.only(chosen), choices.clean)
        except DataError as error:
            problems += error.problems
            continue
        bad = ~np.isfinite(y).all(axis=0)
        nonfinite |= bad
        name = samples.runs[samples.run[part.start]]
        if bad.any():
            broken.append(name)
        if (still := inspect(y).constant).any():
            still_in_run |= still
            resting.append((name, still))
        values[place[part]] = np.where(bad, 0, y)
        if say:
            say(name)
    refuse(problems, str(dataset.root))
    values[:, nonfinite] = 0
    values.flush()
    constant = inspect(values).constant
    n_still = int((constant & ~nonfinite).sum())
    said = [f"{counted(n_still, 'voxel')} without any change"] if n_still else []
    if nonfinite.any():
        what = f"{counted(int(nonfinite.sum()), 'voxel')} with values that are no numbers ({named_runs(broken)})"
        said.append(what)
    text = [f"{' and '.join(said)}: not scored"] if said else []
    if (partly := still_in_run & ~constant & ~nonfinite).any():
        runs = named_runs([name for name, still in resting if (still & partly).any()])
        text.append(f"{counted(int(partly.sum()), 'voxel')} without any change in {runs}, scored over all runs")
    facts = {
        "nonfinite": np.flatnonzero(nonfinite).tolist(),
        "constant": np.flatnonzero(constant).tolist(),
        "text": f"sub-{plan.subject}: {'; '.join(text)}" if text else "",
        "size_bytes": (home / "values.npy").stat().st_size,
    }
    write_atomic(home / "facts.json", document_bytes(facts))
    return facts
