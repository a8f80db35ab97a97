"""Runs and responses of a BIDS dataset: a derivative (or the raw recordings) joined with what the events say was shown.

Owns what of sidecars, headers and events must agree. Which file is which run is ``bids_files.py``'s, rows of events are
``events.py``'s, voxels ``images.py``'s, annotations ``bids_annotations.py``'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.bids.recordings.image import open_image
from release_kit.bids.validate.survey import Entry, Part, survey_dataset
from release_kit.core.errors import ReleaseKitError, StudyError
from release_kit.core.files import safe_relative_path
from release_kit.encoding.data.bids_files import Recorded, find_recorded, nothing_found
from release_kit.encoding.data.events import Event, shown_in
from release_kit.encoding.data.images import (
    Head,
    masked_volumes,
    surface_head,
    surface_selected,
    surface_values,
    volume_head,
    volume_mask,
    voxels_apart,
)
from release_kit.encoding.data.layout import Dataset, ResponsesSpec, check_left_out
from release_kit.encoding.data.masks import SURFACE, Mask, whole_surface, whole_volume
from release_kit.encoding.data.problems import DataError, DataProblem, refuse
from release_kit.encoding.data.runs import RunInfo, run_name, with_joined_titles, with_overlaps
from release_kit.encoding.errors import ResponseError

if TYPE_CHECKING:
    import pyarrow as pa

HEMISPHERES = ("L", "R")
_TR_TOLERANCE = 1e-3
_MOST_APART = 0.5
"""Voxels: beyond it a voxel's number means another place."""


@dataclass
class BidsDataset(Dataset):
    """A BIDS dataset with events that say what was shown, and responses in it or in one of its derivatives."""

    root: Path
    spec: ResponsesSpec
    _runs: dict[str, tuple[RunInfo, ...]] = field(default_factory=dict)
    _masks: dict[str, Mask] = field(default_factory=dict)
    _read_heads: dict[str, tuple[Head, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._survey = survey_dataset(self.root)
        self._folder = f"derivatives/{self.spec.derivative}" if self.spec.derivative else "."
        described = [part for part in self._survey.parts if part.path == self._folder]
        self._part = described[0] if described else self._survey.parts[0]
        self._recorded = find_recorded(self._part.entries, self._folder, self.spec)
        if not self._recorded:
            raise nothing_found(self._survey, self._folder, self.spec)
        if self.spec.leave_out:
            self._leave_out()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Labels of everybody who has responses; sorted."""
        return tuple(sorted(self._recorded))

    def runs(self, subject: str) -> tuple[RunInfo, ...]:
        """Return the runs of a subject; see ``Dataset.runs``."""
        self.check_subject(subject)
        if subject not in self._runs:
            found, problems, heads = [], [], {}
            for recorded in self._recorded[subject].values():
                try:
                    found.append(self._run_info(recorded))
                    heads[recorded.name] = self._heads(recorded)
                except DataError as error:
                    problems += error.problems
                except ReleaseKitError as error:
                    problems.append(_problem(recorded, error))
            problems += self._without_response(subject)
            problems += _grid_problems(subject, heads)
            refuse(problems, str(self.root))
            self._runs[subject] = with_joined_titles(with_overlaps(found))
        return self._runs[subject]

    def mask(self, subject: str) -> Mask:
        """Return the analysed voxels of a subject; see ``Dataset.mask``."""
        self.check_subject(subject)
        if subject not in self._masks:
            all_runs = list(self._recorded[subject].values())
            here = [recorded for recorded in all_runs if all(entry.readable for entry in recorded.entries)]
            self._masks[subject] = self._read_mask(subject, self._heads((here or all_runs)[0]))
        return self._masks[subject]

    def responses(self, subject: str, run: RunInfo) -> npt.NDArray[np.float32]:
        """Return the responses of a run; see ``Dataset.responses``."""
        return self._responses(subject, run, None)

    def first_responses(self, subject: str, run: RunInfo, n: int) -> npt.NDArray[np.float32] | None:
        """Return the first volumes of a run; see ``Dataset.first_responses``. A surface is read as a whole."""
        return None if self.spec.kind == SURFACE else self._responses(subject, run, n)

    def _responses(self, subject: str, run: RunInfo, n: int | None) -> npt.NDArray[np.float32]:
        recorded, mask = self._recorded_as(subject, run), self.mask(subject)
        try:
            if self.spec.kind == SURFACE:
                return self._surface(recorded, mask)
            with open_image(self.root / recorded.entries[0].path) as image:
                return masked_volumes(image, mask, n)
        except DataError:
            raise
        except ReleaseKitError as error:
            raise DataError([_problem(recorded, error)]) from error

    def annotations(self) -> "pa.Table":
        """Return the table of annotations; see ``Dataset.annotations``."""
        from release_kit.encoding.data.bids_annotations import read_bids_annotations

        return read_bids_annotations(self.root)

    def files(self, subject: str, run: RunInfo) -> tuple[Path, ...]:
        """Return every file that the responses of a run are read from."""
        return (*self.recordings(subject, run), *self._mask_paths(subject))

    def recordings(self, subject: str, run: RunInfo) -> tuple[Path, ...]:
        """Return the files of a run: one, or a file a hemisphere."""
        return tuple(self.root / entry.path for entry in self._recorded_as(subject, run).entries)

    def _recorded_as(self, subject: str, run: RunInfo) -> Recorded:
        self.check_subject(subject)
        if run.name not in self._recorded[subject]:
            raise DataError([DataProblem(subject=subject, run=run.name, what="there is no recording of this run")])
        return self._recorded[subject][run.name]

    def _run_info(self, recorded: Recorded) -> RunInfo:
        self._check_files(recorded)
        heads = self._heads(recorded)
        lengths = sorted({head.n_volumes for head in heads})
        if len(lengths) > 1:
            raise DataError([_said(recorded, f"its hemispheres have {lengths[0]} and {lengths[-1]} volumes")])
        tr_s, event = self._tr_s(recorded, heads), self._event(recorded)
        measured = lengths[0] * tr_s
        if event.onset_s + event.duration_s > measured + tr_s:
            what = (
                f"its events show a stimulus until {event.onset_s + event.duration_s:g} s, but its responses end at "
                f"{measured:g} s ({lengths[0]} volumes of {tr_s:g} s)"
            )
            raise DataError([_said(recorded, what, "find out whether the recording is truncated or the events wrong")])
        return RunInfo(
            subject=recorded.subject, session=recorded.session, task=recorded.task, run=recorded.run,
            title=event.title or recorded.task, stim_id=event.stim_id, n_volumes=lengths[0], tr_s=tr_s,
            stim_start_s=event.stim_start_s, onset_s=event.onset_s, overlap_s=event.overlap_s,
            duration_s=event.duration_s,
        )  # fmt: skip

    def _check_files(self, recorded: Recorded) -> None:
        names = ", ".join(Path(entry.path).name for entry in recorded.entries)
        hemispheres = tuple(entry.entities.get("hemi", "") for entry in recorded.entries)
        if self.spec.kind == SURFACE and hemispheres != HEMISPHERES:
            step = "name the space and desc that are meant" if len(hemispheres) > 2 else "both hemispheres are needed"
            raise DataError([_said(recorded, f"expected a file each of hemi-L and hemi-R, got {names}", step)])
        if self.spec.kind != SURFACE and len(recorded.entries) > 1:
            raise DataError([_said(recorded, f"several files are its response: {names}", "name space and desc")])
        absent = [entry.path for entry in recorded.entries if not entry.readable]
        if absent:
            step = f"datalad get {' '.join(absent)}"
            raise DataError([_said(recorded, f"its content is not here: {', '.join(absent)}", step)])

    def _heads(self, recorded: Recorded) -> tuple[Head, ...]:
        if recorded.raw.path not in self._read_heads:
            read = surface_head if self.spec.kind == SURFACE else volume_head
            self._read_heads[recorded.raw.path] = tuple(read(self.root / entry.path) for entry in recorded.entries)
        return self._read_heads[recorded.raw.path]

    def _tr_s(self, recorded: Recorded, heads: Sequence[Head]) -> float:
        """Return the TR; header, sidecars of the response and of the raw recording must agree where they say it."""
        said: dict[str, float] = {}
        for source, part, entry in self._sidecars(recorded):
            value = self._survey.metadata(part, entry).get("RepetitionTime")
            if isinstance(value, (int, float)) and value > 0:
                said[source] = float(value)
        for head in heads:
            if head.tr_s:
                said["the header"] = head.tr_s
        if not said:
            step = "write RepetitionTime into the sidecar of the recording"
            raise DataError([_said(recorded, "neither a header nor a sidecar says its TR", step)])
        first = next(iter(said.values()))
        if any(abs(value - first) > _TR_TOLERANCE * first for value in said.values()):
            listed = ", ".join(f"{value:g} s in {source}" for source, value in said.items())
            raise DataError([_said(recorded, f"its TR differs: {listed}", "find out which is right and correct it")])
        return first

    def _sidecars(self, recorded: Recorded) -> Iterator[tuple[str, Part, Entry]]:
        yield "the raw recording's sidecar", self._survey.parts[0], recorded.raw
        if self.spec.derivative:
            for entry in recorded.entries:
                yield "the response's sidecar", self._part, entry

    def _leave_out(self) -> None:
        """Forget the runs that are left out by their task, name or stimulus.

        Raises:
            UsageError: a name that no task, run or stimulus of any subject has.
        """
        left, known = set(self.spec.leave_out), set()
        for _, task, name, stim_id in self._shown():
            known |= {task, name, stim_id}
        for subject, runs in list(self._recorded.items()):
            for name, recorded in list(runs.items()):
                names = {recorded.task, name, self._stimulus(recorded)}
                known |= names
                if names & left:
                    del runs[name]
            if not runs:
                del self._recorded[subject]
        check_left_out(self.spec.leave_out, known - {None}, str(self.root))
        if not self._recorded:
            raise StudyError("every run is left out", where=str(self.root))

    def _stimulus(self, recorded: Recorded) -> str | None:
        try:
            return self._event(recorded).stim_id
        except ReleaseKitError:
            return None  # said when the run is read

    def _shown(self) -> Iterator[tuple[Entry, str, str, str]]:
        """Yield events of subjects that say which film was shown: the file, its task, its run and the stimulus."""
        for entry in self._survey.parts[0].entries:
            names = entry.entities
            if (
                (entry.suffix, entry.extension) == ("events", ".tsv")
                and {"sub", "task"} <= set(names)
                and entry.readable
            ):
                try:
                    stim_id = shown_in(self._survey.bytes_of(entry.path), entry.path).stim_id
                except ReleaseKitError:
                    continue  # not a film
                yield entry, names["task"], run_name(names["task"], names.get("ses"), names.get("run", "")), stim_id

    def _without_response(self, subject: str) -> Iterator[DataProblem]:
        """Yield a problem for each run of which events say what was shown, and of which there is no response."""
        for entry, task, name, stim_id in self._shown():
            passed = {task, name, stim_id} & set(self.spec.leave_out) or name in self._recorded[subject]
            if entry.entities["sub"] == subject and not passed:
                what = f"its events are here ({entry.path}), but no response in {self._folder}"
                step = "get or make it, or leave the run out"
                yield DataProblem(subject=subject, run=name, what=what, next_step=step)

    def _event(self, recorded: Recorded) -> Event:
        raw, parts = recorded.raw, [(self._survey.parts[0], recorded.raw)]
        if self.spec.derivative:
            parts.append((self._part, recorded.entries[0]))
        files = [entry for part, of in parts for entry in self._survey.inherited(part, of, "events", ".tsv")]
        here = [entry for entry in files if entry.readable]
        if not here:
            expected = raw.path.replace("_bold.nii.gz", "_events.tsv")
            what = f"its events are not here: {files[-1].path}" if files else f"there are no events ({expected})"
            raise DataError([_said(recorded, what, "events say which stimulus was shown when")])
        return shown_in(self._survey.bytes_of(here[-1].path), here[-1].path)

    def _mask_paths(self, subject: str) -> tuple[Path, ...]:
        if self.spec.mask is None:
            return ()
        hemispheres = HEMISPHERES if self.spec.kind == SURFACE else ("",)
        paths = []
        for hemi in hemispheres:
            try:
                names = {"subject": subject, "space": self.spec.space, "desc": self.spec.desc, "hemi": hemi}
                text = self.spec.mask.format(**names)
            except (KeyError, IndexError, ValueError) as error:
                step = "a mask may name {subject}, {space}, {desc} and {hemi}"
                raise StudyError(f"is no path of a mask ({error})", where=self.spec.mask, next_step=step) from error
            inner = safe_relative_path(text, where="mask")
            inside = self.root / self._folder / inner
            paths.append(inside if inside.exists() or inside.is_symlink() else self.root / inner)
        return tuple(paths)

    def _read_mask(self, subject: str, heads: Sequence[Head]) -> Mask:
        paths = self._mask_paths(subject)
        for path in paths:
            if not path.is_file():
                step = "correct dataset.mask, or get the file (datalad get)"
                raise ResponseError("there is no mask here", where=str(path), next_step=step)
        if self.spec.kind == SURFACE:
            sizes = tuple(head.shape[0] for head in heads)
            if not paths:
                return whole_surface(*sizes)
            chosen = [surface_selected(path) for path in paths]
            shapes = tuple(len(one) for one in chosen)
            self._check_shape(subject, paths[0], shapes, sizes)
            return Mask(kind=SURFACE, shape=shapes, affine=None, selected=np.concatenate(chosen))
        if not paths:
            return whole_volume(heads[0].shape, heads[0].affine)
        mask = volume_mask(paths[0])
        self._check_shape(subject, paths[0], mask.shape, heads[0].shape)
        if (apart := voxels_apart(heads[0], volume_head(paths[0]))) > _MOST_APART:
            what = f"the mask {paths[0].name} lies {apart:.1f} voxels from the responses"
            raise DataError([DataProblem(subject=subject, what=what, next_step="name the mask of the same space")])
        return mask

    def _check_shape(self, subject: str, path: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if found != expected:
            what = f"the mask {path.name} is {found}, the responses are {expected}"
            raise DataError([DataProblem(subject=subject, what=what, next_step="name the mask of the same space")])

    def _surface(self, recorded: Recorded, mask: Mask) -> npt.NDArray[np.float32]:
        left, right = (surface_values(self.root / entry.path) for entry in recorded.entries)
        if (left.shape[1], right.shape[1]) != mask.shape or len(left) != len(right):
            what = f"hemispheres of {left.shape} and {right.shape}, but the mask is {mask.shape}"
            raise DataError([_said(recorded, what)])
        return np.ascontiguousarray(mask.take(np.concatenate([left, right], axis=1)))


def _shape(heads: Sequence[Head]) -> str:
    return " and ".join(" x ".join(map(str, head.shape)) for head in heads)


def _grid_problems(subject: str, heads: Mapping[str, Sequence[Head]]) -> Iterator[DataProblem]:
    """Yield a problem for each run whose voxels are others than those of the first: more of them, or elsewhere."""
    first = next(iter(heads), "")
    for name, own in heads.items():
        if (shape := _shape(own)) != (expected := _shape(heads[first])):
            yield DataProblem(subject=subject, run=name, what=f"its volumes are {shape}, those of {first} {expected}")
        elif (apart := voxels_apart(heads[first][0], own[0])) > _MOST_APART:
            what = f"its volumes lie {apart:.1f} voxels from those of {first}"
            yield DataProblem(subject=subject, run=name, what=what, next_step="resample all runs into one space")


def _said(recorded: Recorded, what: str, next_step: str | None = None) -> DataProblem:
    return DataProblem(subject=recorded.subject, run=recorded.name, what=what, next_step=next_step)


def _problem(recorded: Recorded, error: ReleaseKitError) -> DataProblem:
    what = f"{Path(error.where).name}: {error.what}" if error.where else error.what
    return _said(recorded, what, error.next_step)
