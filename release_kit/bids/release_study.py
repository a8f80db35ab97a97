"""A BIDS dataset as a study that ``build`` and ``publish`` take: one cell for each subject and each level.

Decides which file belongs to which part; what belongs to none is shared and comes with every part. The dataset is
listed and linked, never copied or changed. What the card says of it is ``release_tables.py``.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.release_search import search_release
from release_kit.bids.release_tables import DatasetFiles, card_tables, description_of
from release_kit.bids.versioning.contents import declared_version
from release_kit.bids.versioning.identity import NOBODY_SAID, Search
from release_kit.bids.versioning.paths import is_of_git, level_of, subject_of
from release_kit.core.cell import CELL_FILE, CELLS_FOLDER, Cell, iter_cell_files, write_cell
from release_kit.core.dataset_record import DATASET_FILE, SEARCHED_FILE, DatasetRecord, write_dataset, write_searched
from release_kit.core.dataset_tree import DATASET_KIND, NO_LEVEL, TREE_LAYOUT, reserved_path
from release_kit.core.digest_cache import DigestCache
from release_kit.core.errors import StudyError, UsageError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.core.grid import cell_config, cell_id_of, iter_levels
from release_kit.core.strict_yaml import parse_yaml
from release_kit.core.study import STUDY_FILE, Study, parse_study
from release_kit.core.wording import counted

DATASET_LINK = "dataset"
README_NAMES = ("README.md", "README", "README.rst", "README.txt")
KEPT_KEYS = ("namespace", "allow", "citation", "homepage", "limits", "tags")
"""Keys of study.yaml that people add; making the study anew keeps them."""


@dataclass(frozen=True, kw_only=True)
class ReleaseStudy:
    """What ``write_release_study`` made."""

    study: Study
    subjects: tuple[str, ...]
    levels: tuple[str, ...]
    n_files: int
    n_shared: int
    searched: bool
    """Whether the dataset was searched for what may identify a person; a publication refuses it else."""
    written: tuple[str, ...]
    """Files of the study that are new or changed."""


def write_release_study(
    dataset: Path,
    out: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    namespace: str | None = None,
    search: Search = NOBODY_SAID,
    cache: DigestCache | None = None,
) -> ReleaseStudy:
    """Make, or bring up to date, the study that releases ``dataset``; the same dataset gives the same bytes.

    Args:
        dataset: a BIDS dataset, plain or under git-annex with its content here.
        out: folder of the study; made when it is missing.
        name: name of the study and of its repo; by default the dataset's name in lower case.
        version: by default what the recipe inside the dataset declares.
        namespace: account on the Hub that the card names.
        search: which words must appear nowhere, and by whose word; see ``release_search.py``.
        cache: remembered digests of the files that numbers are taken from.

    Raises:
        UsageError: ``out`` is inside the dataset or holds something else; no version is known.
        IntegrityError: something in it may identify a person.
        StudyError: no dataset, nothing to split it by, a label that is taken, files without their content.
    """
    described = description_of(dataset)
    _check_place(dataset, out)
    files = _list_files(dataset)
    parts = _Parts(files, DatasetFiles(dataset).levels())
    if not (parts.subjects or parts.levels):
        raise StudyError("holds neither subjects nor annotations", where=str(dataset), next_step="name a BIDS dataset")
    values = _study_values(dataset, described, parts, name, version)
    if namespace is not None:
        values["namespace"] = namespace
    values = _kept(out, values)
    text = _yaml_text(values)
    study = parse_study(text, folder=out, where=str(out / STUDY_FILE))
    searched = search_release(dataset, files, search, cache)
    tables = card_tables(DatasetFiles(dataset), files, cache)
    link = _link(dataset, out)
    record = DatasetRecord(
        folder=DATASET_LINK,
        shared=tuple(parts.shared),
        readme=next((name for name in README_NAMES if name in files), None),
        configs=tables.configs,
        n_rows=tables.n_rows,
        kinds=tables.kinds,
        tables=tables.tables,
        sources=tables.sources,
    )
    written = [DATASET_LINK] if link else []
    written += [DATASET_FILE] if write_dataset(out, record) else []
    written += [SEARCHED_FILE] if write_searched(out, searched) else []
    written += _write_cells(study, parts)
    written += [STUDY_FILE] if write_atomic(out / STUDY_FILE, text.encode()) else []
    return ReleaseStudy(
        study=study,
        subjects=tuple(parts.subjects),
        levels=tuple(parts.levels),
        n_files=len(files),
        n_shared=len(parts.shared),
        searched=searched is not None,
        written=tuple(written),
    )


class _Parts:
    """Which file belongs to which subject, which level, or to everybody."""

    def __init__(self, files: tuple[str, ...], annotations: Mapping[str, str]):
        self.subjects: dict[str, list[str]] = {}
        self.levels: dict[str, list[str]] = {}
        self.shared: list[str] = []
        for path in files:
            if subject := subject_of(path):
                self.subjects.setdefault(subject, []).append(path)
            elif level := level_of(path, annotations):
                self.levels.setdefault(level, []).append(path)
            else:
                self.shared.append(path)
        self.subjects = dict(sorted(self.subjects.items()))
        self.levels = dict(sorted(self.levels.items()))
        if NO_LEVEL in self.subjects or NO_LEVEL in self.levels:
            step = "call the subject or the level otherwise"
            raise StudyError(f"{NO_LEVEL!r} stands for parts without subject or level", next_step=step)

    def factors(self) -> dict[str, list[str]]:
        """Return the factors of the study; with two of them, each part has no level of the other."""
        both = bool(self.subjects and self.levels)
        found = {"subject": list(self.subjects), "level": list(self.levels)}
        return {name: [*levels, *([NO_LEVEL] if both else [])] for name, levels in found.items() if levels}

    def files(self, levels: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the files of the part that has these levels."""
        subject, level = levels.get("subject", NO_LEVEL), levels.get("level", NO_LEVEL)
        return tuple(self.subjects[subject] if subject != NO_LEVEL else self.levels[level])


def _check_place(dataset: Path, out: Path) -> None:
    inner, outer = os.path.realpath(out), os.path.realpath(dataset)
    if inner == outer or inner.startswith(outer + os.sep):
        raise UsageError("lies inside the dataset, and would become a part of it", where=str(out),
                         next_step="name a folder beside the dataset")  # fmt: skip
    begun = (out / DATASET_LINK).is_symlink() or (out / STUDY_FILE).is_file() or (out / DATASET_FILE).is_file()
    if out.is_dir() and any(out.iterdir()) and not begun:
        raise UsageError("holds other things and is no study", where=str(out), next_step="name an empty folder")


def _list_files(dataset: Path) -> tuple[str, ...]:
    """Return every file of the dataset but those that serve git and DataLad; broken links are listed, too.

    Raises:
        StudyError: names that no release can hold.
    """
    found, wrong = [], []
    for folder, folders, names in os.walk(dataset):
        folders[:] = sorted(name for name in folders if name not in (".git", ".datalad", ".cache"))
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            path = Path(folder, name).relative_to(dataset).as_posix()
            if name.startswith(TEMPORARY_PREFIX) or is_of_git(path):
                continue
            (wrong if reserved_path(path) else found).append(path)
    if wrong:
        shown = ", ".join(sorted(wrong)[:5])
        what = f"{counted(len(wrong), 'file')} with names that belong to git, to a release or to release_kit: {shown}"
        raise StudyError(what, where=str(dataset), next_step="move them out of the dataset")
    return tuple(sorted(found))


def _study_values(
    dataset: Path, described: Mapping[str, Any], parts: _Parts, name: str | None, version: str | None
) -> dict[str, Any]:
    title = str(described.get("Name") or dataset.resolve().name)
    declared = version or declared_version(dataset) or _newest_change(dataset)
    if declared is None:
        raise UsageError("which version is it?", where=str(dataset), next_step="name it: --version 1.0.0")
    cited = _citation(dataset)
    factors = parts.factors()
    values: dict[str, Any] = {
        "schema_version": 1,
        "name": name or _slug(title),
        "version": str(declared),
        "title": title,
        "license": described.get("License") or cited.get("license"),
        "authors": _authors(described) or _names(cited),
        "languages": DatasetFiles(dataset).languages(),
        "artifacts": DATASET_KIND,
        "layout": TREE_LAYOUT,
        "names": "_".join(f"{short}-{{{factor}}}" for factor, short in _SHORT.items() if factor in factors),
        "factors": factors,
    }
    if len(factors) == 2:
        values["include"] = [
            {"subject": list(parts.subjects), "level": NO_LEVEL},
            {"subject": NO_LEVEL, "level": list(parts.levels)},
        ]
    return {key: value for key, value in values.items() if value not in (None, [])}


_SHORT = {"subject": "sub", "level": "level"}


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].strip("-") or "dataset"


def _newest_change(dataset: Path) -> str | None:
    """Return the version at the top of CHANGES, which BIDS writes as ``1.0.0 2026-01-31``."""
    path = dataset / "CHANGES"
    if not path.is_file():
        return None
    found = re.match(r"\s*v?([0-9][0-9A-Za-z.+-]*)\s+\d{4}-\d{2}-\d{2}", path.read_text("utf-8", "replace"))
    return found[1] if found else None


def _citation(dataset: Path) -> dict[str, Any]:
    """Return CITATION.cff: a dataset that has one names its licence and authors there, not in its description."""
    path = dataset / "CITATION.cff"
    cited = _parsed(path) if path.is_file() else None
    return cited if isinstance(cited, dict) else {}


def _authors(described: Mapping[str, Any]) -> list[str]:
    """Return the authors of a description; BIDS wants a list, and datasets have a single text there, too."""
    authors = described.get("Authors")
    return [str(author) for author in (authors if isinstance(authors, list) else [authors]) if author]


def _names(cited: Mapping[str, Any]) -> list[str]:
    names, authors = [], cited.get("authors")
    for author in authors if isinstance(authors, list) else ():
        if isinstance(author, dict):
            parts = [author.get(key) for key in ("given-names", "family-names")]
            names.append(str(author.get("name") or "") or " ".join(str(part) for part in parts if part))
    return [name for name in names if name]


def _kept(out: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Add what people wrote into an earlier study.yaml of this dataset."""
    path = out / STUDY_FILE
    if not path.is_file():
        return values
    old = _parsed(path)
    if not isinstance(old, dict) or old.get("artifacts") != DATASET_KIND:
        raise UsageError("is a study of something else", where=str(path), next_step="name an empty folder")
    return {**{key: old[key] for key in KEPT_KEYS if key in old}, **values}


def _parsed(path: Path) -> Any:
    try:
        return parse_yaml(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise StudyError(f"is not UTF-8 (byte {error.start})", where=str(path), next_step="save it as UTF-8") from error


def _yaml_text(values: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)


def _link(dataset: Path, out: Path) -> bool:
    """Make the study's link to the dataset; returns whether it is new."""
    out.mkdir(parents=True, exist_ok=True)
    link = out / DATASET_LINK
    target = os.path.relpath(os.path.realpath(dataset), os.path.realpath(out))
    if link.is_symlink():
        if os.readlink(link) == target:
            return False
        link.unlink()
    elif link.exists():
        raise UsageError("stands where the link to the dataset goes", where=str(link), next_step="move it away")
    link.symlink_to(target)
    return True


def _write_cells(study: Study, parts: _Parts) -> list[str]:
    written, wanted = [], set()
    for levels in iter_levels(study):
        config = cell_config(study, levels)
        cell = Cell(
            cell_id=cell_id_of(config), levels=dict(levels), config=config,
            artifact_path=DATASET_LINK, files=parts.files(levels),
        )  # fmt: skip
        wanted.add(cell.cell_id)
        path = study.folder / CELLS_FOLDER / cell.cell_id / CELL_FILE
        before = path.read_bytes() if path.is_file() else None
        write_cell(study.folder, cell)
        if before != path.read_bytes():
            written.append(path.relative_to(study.folder).as_posix())
    for path in list(iter_cell_files(study.folder)):
        if path.parent.name not in wanted:
            shutil.rmtree(path.parent)
    return written
