"""A release that is one dataset: is every file that the study lists there, and is the card's source what it was.

What is wrong inside the dataset is not said here; for BIDS that is ``release-kit bids validate``.
"""

from collections.abc import Iterator
from pathlib import Path

from release_kit.core.dataset_record import DATASET_FILE, read_dataset
from release_kit.core.dataset_tree import check_dataset_paths
from release_kit.core.errors import ReleaseKitError
from release_kit.core.hashing import hash_file
from release_kit.core.wording import counted
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import Survey
from release_kit.release.contents import why_unfit

SHOWN = 4


def check_dataset(survey: Survey) -> Iterator[Problem]:
    """Yield the files that a build would refuse, and a record of the dataset that is older than its files."""
    folder = survey.study.folder
    try:
        record = read_dataset(folder)
        parts = [path for view in survey.cells.values() for path in view.cell.files or ()]
        check_dataset_paths([*parts, *record.shared], DATASET_FILE)
    except ReleaseKitError as error:
        yield problem("dataset-broken", DATASET_FILE, error.what, next_step=error.next_step, path=DATASET_FILE)
        return
    root = folder / record.folder
    for cell_id, view in survey.cells.items():
        yield from _unfit(survey, view.folder, view.cell.files or (), survey.name(cell_id), cell_id)
    yield from _unfit(survey, root, record.shared, "what parts share", None)
    now = {file.inner: file.sha256 for view in survey.cells.values() for file in view.files}
    now |= {path: _sha256(root / path) for path in record.sources if path in record.shared}
    changed = [path for path, sha256 in record.sources.items() if now.get(path) not in (sha256, None)]
    if changed:
        yield problem(
            "dataset-outdated", DATASET_FILE, f"was made from other bytes of {_listed(changed)}", path=DATASET_FILE
        )


def _unfit(survey: Survey, root: Path, paths: tuple[str, ...], where: str, cell_id: str | None) -> Iterator[Problem]:
    unfit = {path: why for path in paths if (why := why_unfit(path, root / path, survey.study.folder))}
    if unfit:
        first = next(iter(unfit.values()))
        more = f"; {_listed(list(unfit))}" if len(unfit) > 1 else ""
        what = f"{counted(len(unfit), 'file')} cannot be released: {first}{more}"
        yield problem("dataset-file", where, what, cell_id=cell_id)


def _sha256(file: Path) -> str | None:
    try:
        return hash_file(file, tensors=False).sha256
    except (OSError, ReleaseKitError):
        return None  # said as a file that cannot be released


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more
