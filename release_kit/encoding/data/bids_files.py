"""Which files of a BIDS dataset are the responses of which run, by their names alone."""

from collections.abc import Iterable
from dataclasses import dataclass

from release_kit.bids.validate.survey import Entry, Survey
from release_kit.core.errors import StudyError
from release_kit.encoding.data.layout import ResponsesSpec
from release_kit.encoding.data.masks import SURFACE
from release_kit.encoding.data.runs import run_name

_VOLUMES, _SURFACES = (".nii", ".nii.gz"), (".func.gii",)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The files of one run of one subject: one, or a file a hemisphere."""

    subject: str
    session: str | None
    task: str
    run: str
    entries: tuple[Entry, ...]
    raw: Entry
    """The name that the raw recording has, whether or not it is here."""

    @property
    def name(self) -> str:
        """As ``RunInfo.name``."""
        return run_name(self.task, self.session, self.run)


def find_recorded(entries: Iterable[Entry], folder: str, spec: ResponsesSpec) -> dict[str, dict[str, Recorded]]:
    """Return subject → name of run → its files, in the order of subjects, tasks, sessions and numbers.

    Args:
        entries: the files of the dataset or of the derivative.
        folder: ``derivatives/<name>``, or ``.``.
        spec: which recordings are meant.
    """
    groups: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        names = entry.entities
        if _is_response(entry, folder, spec) and {"sub", "task"} <= set(names):
            key = (names["sub"], names["task"], names.get("ses", ""), names.get("run", ""))
            groups.setdefault(key, []).append(entry)
    found: dict[str, dict[str, Recorded]] = {}
    for key in sorted(groups, key=_order):
        recorded = _recorded(key, groups[key])
        found.setdefault(recorded.subject, {})[recorded.name] = recorded
    return found


def nothing_found(survey: Survey, folder: str, spec: ResponsesSpec) -> StudyError:
    """Return the sentence for a dataset without such responses, with the derivatives that have recordings."""
    labels = [f"{name}-{label}" for name, label in (("space", spec.space), ("desc", spec.desc)) if label]
    kind = ".func.gii" if spec.kind == SURFACE else ".nii or .nii.gz"
    there = sorted(
        {
            entry.path.split("/")[1]
            for entry in survey.entries
            if entry.path.startswith("derivatives/") and entry.suffix == "bold" and entry.extension != ".json"
        }
    )
    return StudyError(
        f"there are no responses ({'_'.join(['sub-*_task-*', *labels, 'bold'])}, {kind}) in {folder}",
        where=str(survey.folder),
        next_step=f"derivatives with recordings: {', '.join(there)}" if there else "no derivative has recordings",
    )


def _recorded(key: tuple[str, str, str, str], entries: list[Entry]) -> Recorded:
    subject, task, session, run = key
    shared = {"sub": subject, "ses": session, "task": task, "run": run}
    shared = {name: label for name, label in shared.items() if label}
    stem = "_".join(f"{name}-{label}" for name, label in shared.items())
    folder = f"sub-{subject}/ses-{session}/func" if session else f"sub-{subject}/func"
    raw = Entry(path=f"{folder}/{stem}_bold.nii.gz", size_bytes=-1, entities=shared, suffix="bold")
    ordered = tuple(sorted(entries, key=lambda entry: entry.entities.get("hemi", "")))
    return Recorded(subject=subject, session=session or None, task=task, run=run, entries=ordered, raw=raw)


def _is_response(entry: Entry, folder: str, spec: ResponsesSpec) -> bool:
    suffixes = _SURFACES if spec.kind == SURFACE else _VOLUMES
    above = "" if folder == "." else f"{folder}/"
    asked = {"space": spec.space, "desc": spec.desc}
    return (
        entry.path.startswith(f"{above}sub-")
        and entry.suffix == "bold"
        and entry.extension in suffixes
        and all(label is None or entry.entities.get(name) == label for name, label in asked.items())
    )


def _order(key: tuple[str, str, str, str]) -> tuple[str, str, str, int, str]:
    subject, task, session, run = key
    return subject, task, session, int(run) if run.isdigit() else 0, run
