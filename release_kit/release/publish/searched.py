"""The gate of a dataset's publication: only bytes leave that were searched for what may identify a person.

Who took part is known to whoever made the dataset, not here: this holds the manifest against the list that
``release-kit bids release`` has left in the study. No option leaves it out.
"""

from collections.abc import Iterator

from release_kit.core.dataset_record import read_dataset, read_searched
from release_kit.core.errors import PublishError
from release_kit.core.manifest import FileEntry
from release_kit.core.wording import counted
from release_kit.release.cards.inputs import CARD_FILE
from release_kit.release.tree import ReleaseTree


def unsearched(tree: ReleaseTree) -> PublishError | None:
    """Return why a release may not leave, or None: every file but the card stands in the list with its sha256."""
    if not tree.manifest.is_dataset or tree.kind != "study":
        return None
    known = read_searched(tree.root)
    wrong = [entry.path for entry in _files(tree) if known.get(entry.path) != entry.sha256]
    if not wrong:
        return None
    shown = ", ".join(wrong[:5]) + (f" … and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    folder = tree.root / read_dataset(tree.root).folder
    return PublishError(
        f"{counted(len(wrong), 'file')} not searched for what may identify a person: {shown}",
        where=str(tree.root),
        next_step=f"run again: release-kit bids release {folder} --out {tree.root} --recipe RECIPE",
    )


def _files(tree: ReleaseTree) -> Iterator[FileEntry]:
    """Yield what comes from the dataset: all but the card, which was made of what was searched and of numbers."""
    for cell in tree.manifest.cells:
        yield from cell.files
    yield from (entry for entry in tree.manifest.index if entry.path != CARD_FILE)
