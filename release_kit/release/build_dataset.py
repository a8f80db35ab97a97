"""The manifest of a release that is one dataset: its parts, what they share, and the card in place of its page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from release_kit.core.dataset_record import DatasetRecord, read_dataset
from release_kit.core.errors import StudyError
from release_kit.core.hashing import FileDigest
from release_kit.core.manifest import RELEASE_FOLDER, CellEntry, FileEntry, Manifest
from release_kit.core.study import Study
from release_kit.release.cards import CardCell, CardInputs, render_cards
from release_kit.release.cards.inputs import CARD_FILE
from release_kit.release.cards.write import keep_edited
from release_kit.release.contents import Source

WriteEntry = Callable[[str, str, bytes], FileEntry]


def assemble_dataset(
    study: Study,
    sources: Sequence[Source],
    names: Mapping[str, str],
    shared: Source,
    digests: Mapping[Path, FileDigest],
    write: WriteEntry,
) -> Manifest:
    """Write the card and return the manifest of everything.

    Args:
        study: the study.
        sources: the parts of the dataset.
        names: cell id → name.
        shared: what the parts share.
        digests: file → identities.
        write: writes one built file (group, path, bytes) and returns its entry.

    Raises:
        StudyError: a file that the card's numbers were taken from has changed since.
    """
    record = read_dataset(study.folder)
    entries = {source.cell_id: _entries(source, digests) for source in (*sources, shared)}
    _refuse_outdated(study, record, [entry for found in entries.values() for entry in found])
    inputs = CardInputs(
        study=study,
        cells=tuple(
            CardCell(
                cell_id=s.cell_id, name=names[s.cell_id], levels=s.levels, kind=s.kind, cell=s.cell,
                files=entries[s.cell_id],
            )
            for s in sources
        ),
        results=(),
        results_path="",
        results_sha256="",
        release_folder=study.folder / RELEASE_FOLDER,
        dataset=record,
    )  # fmt: skip
    built = []
    for tree_path, data in render_cards(inputs):
        keep_edited(inputs, tree_path, data)
        built.append(write("index", tree_path.removeprefix("index/"), data))
    cells = tuple(
        CellEntry(cell_id=s.cell_id, name=names[s.cell_id], levels=s.levels, kind=s.kind, files=entries[s.cell_id])
        for s in sources
    )
    replaced = {CARD_FILE, record.readme}  # the card shows the dataset's page; two pages are not allowed in BIDS
    index = _sorted((*(entry for entry in entries[shared.cell_id] if entry.path not in replaced), *built))
    return Manifest(study=study.name, version=study.version, cells=cells, index=index)


def _entries(source: Source, digests: Mapping[Path, FileDigest]) -> tuple[FileEntry, ...]:
    return _sorted(FileEntry.of(path, digests[file]) for path, file in source.files)


def _refuse_outdated(study: Study, record: DatasetRecord, entries: Iterable[FileEntry]) -> None:
    now = {entry.path: entry.sha256 for entry in entries}
    changed = [path for path, sha256 in record.sources.items() if now.get(path) != sha256]
    if changed:
        shown = ", ".join(changed[:5]) + (f" … and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise StudyError(
            f"the dataset has changed since its study was made: {shown}",
            where=str(study.folder),
            next_step=f"run again: release-kit bids release {study.folder / record.folder} --out {study.folder}",
        )


def _sorted(entries: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.path))
