"""The record of a recipe: what was recorded, what it shows, how it was annotated, who may know what.

Only frozen data and what follows from it; reading the YAML is ``read.py``, holding it against the recordings
``check.py``. Times are in seconds, ages in years. File patterns are relative to the recipe's folder and may name
``{subject}``, ``{source}``, ``{session}``, ``{task}``, ``{run}``, ``{name}``, ``{stimulus}``, ``{level}`` and
``{annotator}``.
Format: ``docs/formats/recipe.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
RECORDING_KINDS = ("nifti", "nifti-series", "dicom", "mat")
READERS = ("seconds", "seconds-table", "intervals", "srt", "vtt", "textgrid", "elan")
CLOCKS = ("stimulus", "run")


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What ``dataset_description.json``, ``README``, ``CITATION.cff`` and the card say."""

    name: str
    version: str
    authors: tuple[str, ...]
    license: str
    description: str
    acknowledgements: str | None = None
    how_to_acknowledge: str | None = None
    funding: tuple[str, ...] = ()
    ethics_approvals: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    doi: str | None = None
    contact: str | None = None
    usage_notes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One participant; ``label`` is the pseudonym, ``source`` the name in the lab, which never enters the dataset."""

    label: str
    source: str
    columns: Mapping[str, str | int | float] = field(default_factory=dict)
    """Columns of ``participants.tsv`` (``age`` in years, ``sex``, ``handedness``, free ones); absent is ``n/a``."""


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """One film or episode; media stay outside the dataset unless ``file`` names them."""

    label: str
    title: str
    duration_s: float
    language: str | None = None
    source: str | None = None
    license: str | None = None
    copyright: str | None = None
    url: str | None = None
    file: str | None = None
    columns: Mapping[str, str | int | float] = field(default_factory=dict)
    """Further columns of ``stimuli.tsv`` (``series``, ``episode`` …)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: its label in file names and what its sidecars say."""

    label: str
    name: str
    description: str | None = None
    instructions: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which span of which stimulus a run shows, and when in the run it begins."""

    stimulus: str
    start_s: float
    """Stimulus time of the first frame shown."""
    duration_s: float
    onset_s: float = 0.0
    """Run time of that frame, counted from the first volume that is kept."""
    overlap_s: float = 0.0
    """The first seconds of the span that the run before it showed already."""

    @property
    def end_s(self) -> float:
        """Stimulus time at which the span ends."""
        return self.start_s + self.duration_s


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Where the image of a run or of an anatomy lies and what kind it is."""

    pattern: str
    kind: str = "nifti"
    options: Mapping[str, Any] = field(default_factory=dict)
    """For ``mat``: ``variable``, ``mask``, ``mask_variable``, ``order``; for ``dicom``: ``series`` (number or name)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One functional run, declared once for every subject that has it."""

    task: str
    run: int
    tr_s: float
    recording: Recording
    shows: Shown | None = None
    session: str | None = None
    dummy_scans: int = 0
    """Volumes at the start of the file, before the stimulus, that are dropped on conversion."""
    suffix: str = "bold"
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Subject label → why it has no such run."""
    name: str | None = None
    """How the lab's files name the run, for ``{name}`` in patterns; ``<task>_run-<nn>`` if None."""
    subjects: Mapping[str, Recording] = field(default_factory=dict)
    """Subject label → its recording, where it came otherwise than those of the others."""

    def recording_of(self, subject: str) -> Recording:
        """Return what the run of one subject was recorded as."""
        return self.subjects.get(subject, self.recording)


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One anatomical image a subject (and session)."""

    suffix: str
    recording: Recording
    session: str | None = None
    deface: bool = True
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    subjects: Mapping[str, Recording] = field(default_factory=dict)

    def recording_of(self, subject: str) -> Recording:
        """Return what the image of one subject was recorded as."""
        return self.subjects.get(subject, self.recording)


@dataclass(frozen=True, kw_only=True)
class Level:
    """A semantic level of annotation: an entry of the vocabulary, or one the study declares."""

    name: str
    description: str
    granularity: str | None = None


@dataclass(frozen=True, kw_only=True)
class AnnotationSource:
    """Files of one annotator at one level; ``id`` is the ``annot-<id>`` of the dataset, letters and digits."""

    id: str
    level: str
    annotator: str
    language: str
    reader: str
    pattern: str
    clock: str = "stimulus"
    """``stimulus``: times are of the stimulus, a file a stimulus; ``run``: times are of the run, a file a run."""
    translated_from: str | None = None
    tool: str | None = None
    encoding: str | None = None
    """None: found out, and refused where more than one encoding is possible."""
    options: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Stimulus label, ``<task>_run-<n>``, or ``ses-<label>_<task>_run-<n>``, → why there is no file."""


@dataclass(frozen=True, kw_only=True)
class MatDerivative:
    """Preprocessed responses to take along as a derivative dataset of NIfTI files."""

    name: str
    description: str
    recording: Recording
    columns: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Subject label, run as in ``AnnotationSource.missing``, or ``sub-<label>_`` and such a run, → why."""


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What must not leave the lab, and the secrets that make it so; the files lie outside the dataset."""

    scrub: tuple[str, ...] = ()
    """Sidecar keys to remove beyond the built-in list."""
    keep: tuple[str, ...] = ()
    """Keys of the built-in list to keep, each a decision of the study."""
    shift_key: str | None = None
    """File with the secret from which each subject's date shift follows; made by the first conversion that needs it."""
    words: tuple[str, ...] = ()
    """Further words that must appear nowhere (names, hospital numbers); source names are always among them."""
    ordinary: tuple[str, ...] = ()
    """Parts of source names that are ordinary words of this dataset, and are not searched for by themselves."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole study. ``folder`` is where the recipe lies; every pattern is relative to it (or to ``sources``)."""

    folder: Path
    dataset: DatasetFacts
    subjects: tuple[Subject, ...]
    tasks: Mapping[str, Task]
    stimuli: Mapping[str, Stimulus]
    runs: tuple[Run, ...]
    anatomy: tuple[Anatomy, ...] = ()
    levels: Mapping[str, Level] = field(default_factory=dict)
    annotations: tuple[AnnotationSource, ...] = ()
    derivatives: tuple[MatDerivative, ...] = ()
    sidecars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Suffix (``bold``, ``T1w``) → facts that headers do not know."""
    privacy: Privacy = Privacy()
    allow: tuple[Mapping[str, str], ...] = ()
    """Problems of the check that the authors know and accept: ``{code, where?, reason}``; told, but not refused."""
    sources: Path | None = None
    """Where recordings and annotation files lie, when not in the recipe's folder."""

    @property
    def root(self) -> Path:
        """The folder that file patterns are relative to."""
        return self.sources or self.folder
