"""The seed's study as it was published (OpenNeuro ds005531): MATLAB responses, masks, one line of text a second.

The shipped recipe says which file is which part of which film; nothing is unpickled, and no file is read that the
analysis does not need. Runs are named as in the converted dataset: ``task-dreamgirlsSess2_run-01`` of the published
files is ``task-dreamgirls_run-06``, of the title ``dreamgirls``.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.bids.recipe.model import Recipe, Run
from release_kit.bids.recordings.mat import MatImage, read_numeric
from release_kit.bids.recordings.mat_mask import Geometry, read_geometry
from release_kit.core.canonical import read_json
from release_kit.core.errors import RecordError, ReleaseKitError, StudyError
from release_kit.encoding.data.images import masked_volumes
from release_kit.encoding.data.layout import Dataset, ResponsesSpec, check_left_out
from release_kit.encoding.data.masks import VOLUME, Mask
from release_kit.encoding.data.problems import DataError, DataProblem, refuse
from release_kit.encoding.data.runs import RunInfo

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "derivatives/preprocessed_data"
VARIABLE, MASK_FILE, MASK_VARIABLE = "dataDT", "vset_100.mat", "tvoxels"
REFERENCE = "derivatives/pycortex_db/sub-{subject}/transforms/fs_fullhead/reference.nii.gz"
SHAPE, VOXEL_MM = (96, 96, 72), (2.0, 2.0, 2.0)
"""The study's volumes, where no reference image is here; their position is then not stated."""
_RESPONSE = re.compile(r"sub-[A-Za-z0-9]+_task-.+\.mat")


def response_path(subject: str, run: Run) -> str:
    """Return where the responses of a run lie in the published dataset."""
    return f"{FOLDER}/sub-{subject}/sub-{subject}_task-{published_name(run)}.mat"


def published_name(run: Run) -> str:
    """Return how the published files name a run: ``dreamgirlsSess2_run-01``."""
    return run.name or f"{run.task}_run-{run.run:02d}"


def names_of(run: Run) -> set[str]:
    """Return everything that a run can be left out by: its task, its stimulus, its name here and as published."""
    shown = {run.shows.stimulus} if run.shows else set()
    return {run.task, published_name(run), declared_name(run)} | shown


def read_published_recipe(root: Path) -> Recipe:
    """Return the shipped recipe of the study with its patterns below ``root``."""
    from release_kit.bids.recipe.read import read_recipe
    from release_kit.core.resources import resource_root

    return read_recipe(Path(str(resource_root("bids"))) / "recipes" / "narrative-movie" / "recipe.yaml", sources=root)


@dataclass
class PublishedDataset(Dataset):
    """The published layout; ``spec.leave_out`` names tasks, stimuli or runs (also as published) that are not here."""

    root: Path
    spec: ResponsesSpec = field(default_factory=lambda: ResponsesSpec(layout="ds005531"))
    _geometries: dict[str, Geometry] = field(default_factory=dict)
    _runs: dict[str, tuple[RunInfo, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folders = sorted((self.root / FOLDER).glob("sub-*"))
        self._subjects = tuple(
            folder.name.removeprefix("sub-")
            for folder in folders
            if any(path.exists() and _RESPONSE.fullmatch(path.name) for path in folder.iterdir())
        )
        if not self._subjects:
            step = "fetch a subject with `release-kit encoding fetch`" if folders else "name the top folder of ds005531"
            raise StudyError(f"no responses are in {FOLDER}/", where=str(self.root), next_step=step)
        self._recipe = read_published_recipe(self.root)
        names = {declared_name(run): names_of(run) for run in self._recipe.runs}
        check_left_out(self.spec.leave_out, frozenset().union(*names.values()), str(self.root))
        self._wanted = {
            declared_name(run): run
            for run in self._recipe.runs
            if not names[declared_name(run)] & set(self.spec.leave_out)
        }

    @property
    def subjects(self) -> tuple[str, ...]:
        """Labels of everybody of whom responses are here: ``S01`` …"""
        return self._subjects

    def runs(self, subject: str) -> tuple[RunInfo, ...]:
        """Return the runs of a subject; see ``Dataset.runs``. Volumes after the film stay out of ``shown_s``."""
        self.check_subject(subject)
        if subject not in self._runs:
            found, problems = [], []
            for name, run in self._wanted.items():
                try:
                    found.append(self._run_info(subject, run))
                except ReleaseKitError as error:
                    what = f"{Path(error.where).name}: {error.what}" if error.where else error.what
                    problems.append(DataProblem(subject=subject, run=name, what=what, next_step=error.next_step))
            refuse(problems, str(self.root))
            self._runs[subject] = tuple(found)
        return self._runs[subject]

    def mask(self, subject: str) -> Mask:
        """Return the published cortical voxels of a subject; see ``Dataset.mask``."""
        self.check_subject(subject)
        geometry = self._geometry(subject)
        selected = np.zeros(geometry.n_all, bool)
        selected[geometry.voxels] = True
        stated = len(geometry.files) > 1
        return Mask(
            kind=VOLUME,
            shape=geometry.shape,
            affine=np.array(geometry.template.affine, np.float64) if stated else None,
            selected=np.ascontiguousarray(selected.reshape(geometry.shape, order="F")),
        )

    def responses(self, subject: str, run: RunInfo) -> npt.NDArray[np.float32]:
        """Return the responses of a run; see ``Dataset.responses``."""
        return self._responses(subject, run, None)

    def first_responses(self, subject: str, run: RunInfo, n: int) -> npt.NDArray[np.float32]:
        """Return the first volumes of a run; see ``Dataset.first_responses``."""
        return self._responses(subject, run, n)

    def _responses(self, subject: str, run: RunInfo, n: int | None) -> npt.NDArray[np.float32]:
        self.check_subject(subject)
        path = self.root / response_path(subject, self._as_declared(subject, run))
        try:
            with self._open(subject, path) as image:
                return masked_volumes(image, self.mask(subject), n)
        except DataError:
            raise
        except ReleaseKitError as error:
            what = f"{path.name}: {error.what}"
            raise DataError(
                [DataProblem(subject=subject, run=run.name, what=what, next_step=error.next_step)]
            ) from error

    def annotations(self) -> "pa.Table":
        """Return the annotations whose files are here; see ``Dataset.annotations``."""
        return read_published_annotations(self._recipe)

    def files(self, subject: str, run: RunInfo) -> tuple[Path, ...]:
        """Return the responses and the mask of a subject."""
        path = self.root / response_path(subject, self._as_declared(subject, run))
        return path, self.root / FOLDER / f"sub-{subject}" / MASK_FILE

    def _as_declared(self, subject: str, run: RunInfo) -> Run:
        if run.name not in self._wanted:
            raise DataError([DataProblem(subject=subject, run=run.name, what="the study has no such run")])
        return self._wanted[run.name]

    def _run_info(self, subject: str, run: Run) -> RunInfo:
        path = self.root / response_path(subject, run)
        if not path.exists():
            here = "its content is not here" if path.is_symlink() else "its responses are missing"
            raise StudyError(f"{here}: {response_path(subject, run)}", next_step="get it, or leave the run out")
        tr_s = self._tr_s(subject, run)
        with self._open(subject, path) as image:
            n_volumes = image.header.n_volumes
        shows = run.shows
        if shows is None:
            raise StudyError("shows nothing")
        if n_volumes * tr_s < shows.onset_s + shows.duration_s:
            what = f"{path.name} has {n_volumes} volumes of {tr_s:g} s, the film is shown for {shows.duration_s:g} s"
            raise StudyError(what, next_step="get the file again")
        return RunInfo(
            subject=subject, session=run.session, task=run.task, run=f"{run.run:02d}", title=run.task,
            stim_id=shows.stimulus, n_volumes=n_volumes, tr_s=tr_s, stim_start_s=shows.start_s,
            onset_s=shows.onset_s, overlap_s=shows.overlap_s, duration_s=shows.duration_s,
        )  # fmt: skip

    def _tr_s(self, subject: str, run: Run) -> float:
        """Return the recipe's TR; the sidecar of the raw recording, where it is here, must agree."""
        sidecar = self.root / f"sub-{subject}/func/sub-{subject}_task-{published_name(run)}_bold.json"
        said = read_json(sidecar).get("RepetitionTime") if sidecar.exists() else None
        if said is not None and (not isinstance(said, (int, float)) or abs(said - run.tr_s) > 1e-6):
            shown = f"{said:g} s" if isinstance(said, (int, float)) else repr(said)
            raise RecordError(f"its TR differs: {shown} in the sidecar, {run.tr_s:g} s in the recipe")
        return run.tr_s

    def _geometry(self, subject: str) -> Geometry:
        if subject not in self._geometries:
            reference = self.root / REFERENCE.format(subject=subject)
            known = reference.exists()
            self._geometries[subject] = read_geometry(
                mask=self.root / FOLDER / f"sub-{subject}" / MASK_FILE, mask_variable=MASK_VARIABLE,
                reference=reference if known else None, order="F", shape=None if known else SHAPE,
                voxel_mm=None if known else VOXEL_MM, where=str(self.root), read_hdf5=read_numeric,
            )  # fmt: skip
        return self._geometries[subject]

    def _open(self, subject: str, path: Path) -> MatImage:
        """Open a response matrix: of all voxels of the volume, as published, or of those of the mask."""
        masked = self._geometry(subject)
        whole = replace(masked, voxels=np.arange(masked.n_all))
        try:
            return MatImage(path, VARIABLE, whole, None, None)
        except ReleaseKitError:
            return MatImage(path, VARIABLE, masked, None, None)


def declared_name(run: Run) -> str:
    """Return how the analysis names a run: ``task-dreamgirls_run-06``."""
    return f"task-{run.task}_run-{run.run:02d}"


def read_published_annotations(recipe: Recipe) -> "pa.Table":
    """Return the annotations whose files are here, in the time of their films; what a part repeats is there once.

    Raises:
        AnnotationError: what is wrong with the files, all of it.
        StudyError: no file is here.
    """
    from release_kit.bids.annotations.problems import AnnotationError, AnnotationProblem
    from release_kit.bids.annotations.read import read_rows
    from release_kit.bids.annotations.table import Row, annotation_table
    from release_kit.bids.recipe.read import annotation_files

    rows: list[Row] = []
    problems: list[AnnotationProblem] = []
    n_files = 0
    for source in recipe.annotations:
        seen: set[Row] = set()
        for file in annotation_files(recipe, source):
            if not file.path.exists():
                continue
            n_files += 1
            try:
                found = read_rows(file.path, source, file.stimulus, file.run)
            except AnnotationError as error:
                problems += error.problems
                continue
            rows += [row for row in found if row not in seen]
            seen.update(found)
    if problems:
        raise AnnotationError(problems, "get the files again, or tell the recipe how to read them")
    if not n_files:
        step = "get a level with `release-kit encoding fetch`"
        raise StudyError("no annotation is here (derivatives/annotation/)", where=str(recipe.root), next_step=step)
    return annotation_table(rows)
