"""``verify``: read files and prove that they are what the manifest says; offline, every byte, in parallel.

Puts the parts together: what is covered (``verify/open``), reading and hashing (``core``), the decision
(``verify/compare``), which tensors differ (``verify/tensors``). Writes nothing but remembered digests.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import IntegrityError, ReleaseKitError, UsageError
from release_kit.core.hashing import LARGE_BYTES, FileDigest, default_workers
from release_kit.core.manifest import FileEntry, Manifest
from release_kit.release.verify.compare import Observed, compare, needs_reading
from release_kit.release.verify.open import Opened, open_target
from release_kit.release.verify.report import Difference, VerifyReport, as_it_lies, ordered
from release_kit.release.verify.scope import Found, Scope, expected_files, list_found

SIGNATURE_FILE = "manifest.sigstore.json"
MIN_ROOT_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """How to verify."""

    manifest: Path | None = None
    """The release's manifest, for folders that have none of their own."""
    cell: str | None = None
    """Name or id of the one cell that the folder holds."""
    select: Sequence[str] = ()
    """``factor=level`` terms; other cells need not be there."""
    tensors: bool = False
    """Also compare every tensor, and name those that differ."""
    trust_cache: bool = False
    """Take remembered digests of files that nobody touched instead of reading them."""
    key: Path | None = None
    """Public key; the manifest must carry a signature of its owner."""
    expected_root: str | None = None
    """Root digest (or its first 12 or more digits) that the release must have."""
    workers: int | None = None


@dataclass(kw_only=True)
class Inspection:
    """Everything that one verification learned; ``repair`` works from it."""

    opened: Opened
    expected: dict[str, FileEntry]
    found: dict[str, Found]
    observed: dict[str, Observed]
    digests: dict[str, FileDigest] = field(default_factory=dict)
    n_cells: int = 0
    not_downloaded: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    n_read: int = 0
    n_bytes_read: int = 0


def verify_folder(
    path: Path,
    options: VerifyOptions | None = None,
    *,
    cache: DigestCache | None = None,
    on_start: Callable[[str, int], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> VerifyReport:
    """Verify the release, or the part of one, that lies in ``path``.

    Args:
        path: a download, a built study, a snapshot or clone of a release's repo, or a folder with one cell.
        options: how.
        cache: where digests are remembered; read only with ``trust_cache``, written always.
        on_start: told a label and the bytes that will be read.
        on_bytes: told the size of each file that is done.

    Returns:
        A report; ``ok`` is False when anything differs or nothing was there to be checked.

    Raises:
        RecordError: there is no manifest, or it is not valid.
        UsageError: an unknown cell, factor or level.
    """
    options = options or VerifyOptions()
    inspection = inspect(path, options, cache=cache, on_start=on_start, on_bytes=on_bytes)
    return report_of(path, inspection, options)


def inspect(
    path: Path,
    options: VerifyOptions,
    *,
    cache: DigestCache | None = None,
    on_start: Callable[[str, int], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Inspection:
    """Do the reading and comparing of ``verify_folder`` and return all of what was learned."""
    opened = open_target(path, manifest=options.manifest, cell=options.cell, select=options.select)
    scope = opened.scope
    found = list_found(scope)
    expected, cells = expected_files(scope, found)
    here = {cell.name for cell in cells}
    inspection = Inspection(
        opened=opened,
        expected=expected,
        found=found,
        observed={name: Observed(stat.st_size) for name, (_, stat) in found.items()},
        n_cells=len(cells),
        not_downloaded=tuple(cell.name for cell in scope.manifest.cells if cell.name not in here),
    )
    _read(inspection, options, cache, on_start, on_bytes)
    differences = list(compare(expected, inspection.observed, repair_step=_repair_step(scope)))
    if options.tensors:
        from release_kit.release.verify.tensors import explain_tensors

        differences = explain_tensors(inspection, differences)
    differences += opened.differences
    if not found:
        step = "download the release again"
        what = "holds no file of the release: nothing was verified"
        differences = [Difference(code="empty", where=str(path), what=what, next_step=step), *opened.differences]
    inspection.differences = ordered(differences)
    return inspection


def report_of(path: Path, inspection: Inspection, options: VerifyOptions) -> VerifyReport:
    """Return the report on an inspection, signature and expected root included."""
    scope = inspection.opened.scope
    manifest = scope.manifest
    trust, signed_by = trust_of(manifest, inspection.opened.manifest_bytes, scope.manifest_path, options)
    listed = not (scope.kind in ("cell", "results") or options.select)
    return VerifyReport(
        target=str(path),
        kind=scope.kind,
        root=manifest.root,
        study=manifest.study,
        version=manifest.version,
        differences=ordered([*as_it_lies(inspection.differences, dataset=manifest.is_dataset), *trust]),
        n_files=len(inspection.expected),
        n_bytes=sum(entry.size_bytes for entry in inspection.expected.values()),
        n_read=inspection.n_read,
        n_bytes_read=inspection.n_bytes_read,
        n_cells=inspection.n_cells,
        not_downloaded=inspection.not_downloaded if listed else (),
        signed_by=signed_by,
        notes=inspection.opened.notes,
    )


def _repair_step(scope: Scope) -> str:
    if scope.kind == "study":
        return "restore it, or run: release-kit build"
    return "run again with --repair" if scope.kind in ("download", "cache") else "download it again"


def _read(inspection: Inspection, options: VerifyOptions, cache, on_start, on_bytes) -> None:
    """Hash what decides something, each inode once, and fill ``observed``."""
    found = inspection.found
    chosen = set(needs_reading(inspection.expected, {name: stat.st_size for name, (_, stat) in found.items()}))
    if options.tensors:
        chosen |= {name for name, entry in inspection.expected.items() if entry.tensors is not None and name in found}
    groups = _by_inode(sorted(chosen), found)
    paths = [found[names[0]][0] for names in groups]
    if on_start:
        on_start("verifying", sum(found[names[0]][1].st_size for names in groups))

    def count(path: Path | str, size: int) -> None:
        inspection.n_read += 1
        inspection.n_bytes_read += size

    n_large = sum(found[names[0]][1].st_size >= LARGE_BYTES for names in groups)
    outcomes = digest_files(
        paths, cache=cache, trust=options.trust_cache, tensors=options.tensors, git=False,
        read_ahead=n_large < default_workers(), workers=options.workers, on_bytes=on_bytes, on_hashed=count,
    )  # fmt: skip
    for names, outcome in zip(groups, outcomes, strict=True):
        for name in names:
            inspection.observed[name] = _observed(outcome, found[name])
            if isinstance(outcome, FileDigest):
                inspection.digests[name] = outcome


def _by_inode(names: Sequence[str], found: Mapping[str, Found]) -> list[list[str]]:
    """Group names of one file (hard links, links into a cache), largest first so that no worker ends alone."""
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name in names:
        stat = found[name][1]
        groups[stat.st_dev, stat.st_ino].append(name)
    return sorted(groups.values(), key=lambda group: -found[group[0]][1].st_size)


def _observed(outcome: FileDigest | ReleaseKitError, found: Found) -> Observed:
    if isinstance(outcome, FileDigest):
        return Observed(outcome.size_bytes, outcome.sha256)
    return Observed(found[1].st_size, error=outcome.what)


def trust_of(
    manifest: Manifest, manifest_bytes: bytes, manifest_path: Path, options: VerifyOptions
) -> tuple[list[Difference], str | None]:
    """Check a manifest against the root and the key that the options name.

    Args:
        manifest: the manifest.
        manifest_bytes: its bytes, which are what is signed.
        manifest_path: where it lies; the signature lies beside it.
        options: what is expected.

    Returns:
        Differences, and the fingerprint of the key that signed (None when no key was given).
    """
    differences: list[Difference] = []
    place = str(manifest_path)
    wanted = options.expected_root
    if wanted is not None and not _matches_root(manifest.root, wanted):
        what = f"has the root digest {manifest.root}, expected {wanted}"
        differences.append(Difference(code="manifest", where=place, what=what, next_step="do not use this release"))
    if options.key is None:
        return differences, None
    from release_kit.release.sign.release import verify_signature

    try:
        signature = manifest_path.with_name(SIGNATURE_FILE)
        signed_by = verify_signature(manifest_bytes, signature, options.key).fingerprint[:16]
    except IntegrityError as error:
        where = error.where or place
        differences.append(Difference(code="signature", where=where, what=error.what, next_step=error.next_step))
        return differences, None
    return differences, signed_by


def _matches_root(root: str, wanted: str) -> bool:
    if len(wanted) < MIN_ROOT_DIGITS or set(wanted.lower()) - set("0123456789abcdef"):
        raise UsageError(f"{wanted!r} is not a root digest", where="--root", next_step="give 12 to 64 hex digits")
    return root.startswith(wanted.lower())
