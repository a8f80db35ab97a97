"""``release-kit bids verify``: proves that a dataset in a folder is the version that it says it is.

Every byte is read once against the annex key, git's object id and the manifest; then git's objects, the signature and
the validator. A partial download is proved as what it is. Mending is ``heal``'s.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.expected import Expectation, Expected, Finding, expect
from release_kit.bids.versioning.get import get_dataset
from release_kit.bids.versioning.heal import Healed, has_content, heal_files
from release_kit.bids.versioning.paths import MANIFEST_FILE, SIGNATURE_FILE, is_of_git
from release_kit.bids.versioning.prove import Proof, prove
from release_kit.bids.versioning.select import ANNOTATIONS_TABLE, parse_levels, recorded
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import write_error

Say = Callable[[Mapping[str, Any]], None]
CheckSignature = Callable[[bytes, Path], str]
"""Takes the manifest's bytes and the signature file; returns who signed, or raises ``ReleaseKitError``."""


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What was proved of a dataset, and what not."""

    folder: Path
    name: str | None
    version: str | None
    root: str | None
    """Root digest of the manifest; None where there is none."""
    n_verified: int
    n_absent: int
    """Files whose content was not asked for."""
    size_bytes: int
    """Bytes that were read."""
    findings: tuple[Finding, ...]
    healed: tuple[Healed, ...] = ()
    signature: str | None = None
    """Who signed, when a key was given and the signature holds."""
    signed: bool = False
    """Whether a signature lies there."""
    parts: tuple[str, ...] = ()
    """What was downloaded, when not everything was."""
    validation: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether everything that is here is as it should be."""
        return not self.findings

    @property
    def whole(self) -> bool:
        """Whether everything of the version is here."""
        return not self.n_absent

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        return {
            "ok": self.ok,
            "whole": self.whole,
            "folder": str(self.folder),
            "name": self.name,
            "version": self.version,
            "root": self.root,
            "n_verified": self.n_verified,
            "n_absent": self.n_absent,
            "size_bytes": self.size_bytes,
            "parts": list(self.parts),
            "signed": self.signed,
            "signature": self.signature,
            "findings": [finding.to_dict() for finding in self.findings],
            "healed": [healed.to_dict() for healed in self.healed],
            "validation": dict(self.validation) if self.validation is not None else None,
        }


def verify_dataset(
    folder: Path,
    *,
    complete: bool = False,
    workers: int | None = None,
    check_signature: CheckSignature | None = None,
    heal: bool = False,
    heal_from: Sequence[str] = (),
    validate: bool = False,
    on_event: Say | None = None,
) -> VerifyReport:
    """Prove a dataset in a folder: a clone, the dataset itself, or a plain tree.

    Args:
        folder: its root.
        complete: content that is not here is a finding even if it was not asked for.
        workers: files read at once; one for each core when None.
        check_signature: checks the signature; without it a signature is only named.
        heal: mend what is damaged from the dataset's siblings.
        heal_from: mend it from these references, in their order.
        validate: run the validator on it again; each of its errors is a finding.
        on_event: told ``{"event": "files", "n", "size_bytes"}`` and ``{"event": "read", "path", "size_bytes"}``.

    Raises:
        ReleaseKitError: ``folder`` holds no dataset that could be proved.
    """
    folder, say = Path(os.path.abspath(folder)), on_event or (lambda event: None)
    expectation = expect(folder)
    lost = _lost(expectation)
    wanted, parts = _wanted(folder, expectation, complete, lost)
    say(
        {"event": "files", "n": len(expectation.files), "size_bytes": sum(f.size_bytes or 0 for f in expectation.files)}
    )
    proofs = list(prove(expectation, expectation.files, workers=workers, wanted=wanted, lost=lost, on_event=say))
    healed: list[Healed] = []
    bad = [proof for proof in proofs if proof.state == "bad"]
    if bad and (heal or heal_from):
        healed = heal_files(expectation, bad, heal_from, say)
        expectation = expect(folder)  # what was an extra file or staged may be so no more
        proofs = _again(expectation, proofs, wanted)
        good = {proof.expected.path for proof in proofs if proof.state == "good"}
        healed = [one for one in healed if one.path in good]
    findings = [proof.finding for proof in proofs if proof.finding]
    findings += _rest(expectation, findings)
    signature, signed, problem = _signature(folder, expectation, check_signature)
    findings += problem
    report = _report(expectation, proofs, parts, findings, tuple(healed), signature, signed)
    if validate:
        report = _validated(report)
    return report


def _validated(report: VerifyReport) -> VerifyReport:
    """Add what the validator says; where content was not asked for, images are not opened."""
    from release_kit.bids.validate.finding import ERROR
    from release_kit.bids.validate.run import validate_dataset

    judged = validate_dataset(report.folder, content=None if report.whole else False)
    errors = [one for one in judged.findings if one.severity == ERROR]
    found = tuple(Finding(code="invalid", path=one.path, what=f"{one.code}: {one.what}") for one in errors)
    kept = {"ok": judged.ok, "counts": judged.counts, "validator": judged.validator_version}
    return replace(report, validation=kept, findings=(*report.findings, *found))


def verify_reference(ref: str, *, scratch: Path | None = None, **options: Any) -> VerifyReport:
    """Prove what a reference serves: download it into an empty place, prove it there, remove it.

    Args:
        ref: see ``sources.resolve``.
        scratch: folder in which the empty place is made; None takes that of the system (``TMPDIR``).
        **options: those of ``verify_dataset``; ``on_event`` is told ``{"event": "download", "folder", "size_bytes"}``.

    Raises:
        ReleaseKitError: nothing can be had from there, or there is no room for it.
    """
    where, say = scratch or Path(tempfile.gettempdir()), options.get("on_event") or (lambda event: None)

    def before(event: Mapping[str, Any]) -> None:
        if event["event"] == "wanted":
            _check_room(where, event["size_bytes"])
            say({"event": "download", "folder": str(where), "size_bytes": event["size_bytes"]})

    with _empty_place(where) as scratch:
        dest = Path(scratch) / "dataset"
        try:
            got = get_dataset(ref, dest, only_here=True, on_event=before)
            report = verify_dataset(dest, complete=True, **options)
        finally:
            _make_writable(Path(scratch))
        known = {finding.path for finding in report.findings}
        refused = [text for text in got.failed if text.split(": ", 1)[0] not in known]
        found = tuple(Finding(code="content", path=text.split(": ", 1)[0], what=text) for text in refused)
        return replace(report, folder=Path(ref), findings=(*report.findings, *found))


def _empty_place(where: Path) -> tempfile.TemporaryDirectory:
    try:
        where.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="release-kit-verify-", dir=where)
    except OSError as error:
        raise write_error(where, error) from error


def _check_room(where: Path, size_bytes: int) -> None:
    """Refuse a download that has no room, before a byte of it is fetched."""
    free = shutil.disk_usage(where).free
    if size_bytes > free:
        raise ReleaseKitError(
            f"the download takes {size_bytes / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free",
            where=str(where),
            next_step="name another folder: --dir (or set TMPDIR); nothing was downloaded",
        )


def _make_writable(folder: Path) -> None:
    """git-annex takes the right to write from its folders; without it nothing in them can be removed."""
    for place, folders, _ in os.walk(folder):
        for name in folders:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755)


def _wanted(
    folder: Path, expectation: Expectation, complete: bool, lost: frozenset[str]
) -> tuple[Callable[[str], bool], tuple[str, ...]]:
    """Return which contents must be here, and the words for what was downloaded."""
    known = recorded(folder)
    if complete or (expectation.repository is None and known is None):
        return (lambda path: True), ()
    selections = known[1] if known else []
    table = folder / ANNOTATIONS_TABLE
    levels = parse_levels(table.read_bytes()) if table.is_file() else {}
    parts: list[str] = []
    for one in selections:
        parts += [f"sub-{subject}" for subject in one.subjects] + [f"level {level}" for level in one.levels]
    if any(not one.subjects and not one.levels for one in selections):
        parts = []
    return (lambda path: path in lost or any(one.wants(path, levels) for one in selections)), tuple(
        dict.fromkeys(parts)
    )


def _lost(expectation: Expectation) -> frozenset[str]:
    """Return the annexed files whose content is not here although git-annex has noted that it is."""
    repository = expectation.repository
    own = repository.ask("config", "--local", "annex.uuid") if repository else None
    places = ((file.path, expectation.folder / file.path) for file in expectation.files if file.key)
    absent = [path for path, place in places if os.path.lexists(place) and not has_content(place)]
    if repository is None or own is None or not absent:
        return frozenset()
    asked = b"".join(os.fsencode(path) + b"\0" for path in absent)
    records = repository.annex_records("whereis", "--batch", "-z", stdin=asked)
    return frozenset(str(one["file"]) for one in records if any(at["uuid"] == own for at in one.get("whereis", ())))


def _again(expectation: Expectation, proofs: Iterable[Proof], wanted: Callable[[str], bool]) -> list[Proof]:
    """Read again what was bad."""
    proofs = list(proofs)
    bad: list[Expected] = [proof.expected for proof in proofs if proof.state == "bad"]
    fresh = {proof.expected.path: proof for proof in prove(expectation, bad, wanted=wanted)}
    return [fresh.get(proof.expected.path, proof) for proof in proofs]


def _rest(expectation: Expectation, findings: Sequence[Finding]) -> list[Finding]:
    """Return what the listings and git's own objects tell, without what reading files told already."""
    known = {finding.path for finding in findings}
    rest = [finding for finding in expectation.findings if not (finding.code == "staged" and finding.path in known)]
    if expectation.repository is not None:
        lines = expectation.repository.damage()
        if lines:
            rest.append(Finding(code="repository", path=".git", what="; ".join(lines[:5])))
    return rest


def _signature(
    folder: Path, expectation: Expectation, check: CheckSignature | None
) -> tuple[str | None, bool, list[Finding]]:
    place = folder / SIGNATURE_FILE
    signed = place.is_file()
    if check is None:
        return None, signed, []
    if expectation.manifest is None:
        what = "there is no usable manifest, so nothing of this is signed"
        return None, signed, [Finding(code="signature", path=SIGNATURE_FILE, what=what)]
    try:
        return check((folder / MANIFEST_FILE).read_bytes(), place), signed, []
    except (ReleaseKitError, OSError) as error:
        return None, signed, [Finding(code="signature", path=SIGNATURE_FILE, what=str(error))]


def _report(
    expectation: Expectation, proofs: Sequence[Proof], parts: tuple[str, ...], findings: Sequence[Finding],
    healed: tuple[Healed, ...], signature: str | None, signed: bool,
) -> VerifyReport:  # fmt: skip
    manifest = expectation.manifest
    absent = [proof for proof in proofs if proof.state == "absent" and not is_of_git(proof.expected.path)]
    return VerifyReport(
        folder=expectation.folder,
        name=manifest.name if manifest else None,
        version=manifest.version if manifest else None,
        root=manifest.root if manifest else None,
        n_verified=sum(proof.state == "good" for proof in proofs),
        n_absent=len(absent),
        size_bytes=sum(proof.size_bytes for proof in proofs),
        findings=tuple(sorted(findings, key=lambda finding: (finding.path, finding.code))),
        healed=healed,
        signature=signature,
        signed=signed,
        parts=parts if absent else (),
    )
