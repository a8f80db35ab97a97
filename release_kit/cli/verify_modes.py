"""What ``release-kit verify`` does in each mode: a folder, a Hub's listings, a sample, a repair.

Chooses the mode from target and options and opens what the library functions need; decides nothing about files.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from release_kit.cli.output import Progress, counted
from release_kit.core.digest_cache import DigestCache, default_cache_path
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.manifest import MANIFEST_FILE
from release_kit.release.verify.report import Difference, VerifyReport, human_bytes, ordered, shortened
from release_kit.release.verify.run import Inspection, VerifyOptions, inspect, report_of, trust_of

Outcome = tuple[dict[str, Any], str]
"""The JSON object and the readable text."""


def run_verify(
    target: str | None, *, bar: Progress, remote: str | None, sample: int | None, repair: bool, origin: str | None,
    seed: int, endpoint: str | None, manifest: Path | None, cell: str | None, select: tuple[str, ...],
    tensors: bool, trust_cache: bool, key: Path | None, expected_root: str | None, workers: int | None,
) -> Outcome:  # fmt: skip
    """Verify as asked and return the report in both forms.

    Raises:
        UsageError: options that contradict each other, or no target.
    """
    options = VerifyOptions(
        manifest=manifest, cell=cell, select=select, tensors=tensors, trust_cache=trust_cache, key=key,
        expected_root=expected_root, workers=workers,
    )  # fmt: skip
    folder, reference = _what(target, remote)
    if repair and (folder is None or remote is not None or sample is not None):
        raise UsageError("--repair works on a folder, without --remote and --sample")
    if folder is not None and remote is None:
        if sample is not None:
            return _forms(_sample_folder(folder, options, sample, seed))
        return _repaired(folder, options, bar, origin, endpoint) if repair else _forms(_folder(folder, options, bar))
    return _forms(_on_hub(folder, reference, options, bar, endpoint, sample, seed))


def _what(target: str | None, remote: str | None) -> tuple[Path | None, str | None]:
    """Return (folder, reference): which of the two words names what."""
    if remote and target is None and Path(remote).exists():
        target, remote = remote, ""
    if target is None:
        if not remote:
            raise UsageError("nothing to verify", next_step="name a folder, or --remote NAMESPACE/STUDY@VERSION")
        return None, remote
    path = Path(target)
    named = target.startswith((".", "/", "~")) or "/" not in target or path.parent.is_dir()
    if path.exists() or (named and "@" not in target):
        return path, remote or None
    return None, remote or target


def _forms(report: VerifyReport) -> Outcome:
    return report.to_dict(), report.text()


def _folder(folder: Path, options: VerifyOptions, bar: Progress) -> VerifyReport:
    with DigestCache(default_cache_path()) as cache:
        inspection = inspect(folder, options, cache=cache, on_start=bar.start, on_bytes=bar.advance)
    return report_of(folder, inspection, options)


def _repaired(folder: Path, options: VerifyOptions, bar: Progress, origin: str | None, endpoint: str | None) -> Outcome:
    from release_kit.release.verify.repair import damaged_paths, repair

    with DigestCache(default_cache_path()) as cache:
        inspection = _inspect_with_manifest(folder, options, bar, cache, endpoint)
        if not damaged_paths(inspection.differences) and not any(d.code == "extra" for d in inspection.differences):
            return _forms(report_of(folder, inspection, options))
        before = report_of(folder, inspection, options)
        with _source(inspection, origin, endpoint, bar) as (client, release):
            done = repair(inspection, release, client, cache=cache, callbacks=_callbacks(bar))
        again = inspect(folder, options, cache=cache, on_start=bar.start, on_bytes=bar.advance)
        after = report_of(folder, again, options)
    value = {**after.to_dict(), "found": [d.to_dict() for d in before.differences], "repair": done.to_dict()}
    lines = [replace(difference, next_step=None).sentence() for difference in before.differences[:20]]
    fetched = f"{done.outcome.n_fetched} fetched ({human_bytes(done.outcome.n_bytes_fetched)})"
    lines.append(f"repaired: {counted(len(done.repaired), 'file')}, {fetched}, {done.outcome.n_copied} from this disk")
    if done.put_aside:
        lines.append(f"put aside: {len(done.put_aside)} files of no release: {shortened(done.put_aside)}")
    if done.quarantine.exists():
        lines.append(f"the old files are kept in {done.quarantine}")
    return value, "\n".join([*lines, after.text()])


def _inspect_with_manifest(
    folder: Path, options: VerifyOptions, bar: Progress, cache: DigestCache, endpoint: str | None
) -> Inspection:
    """Inspect a folder; a damaged manifest of a download is fetched again first."""
    from release_kit.hub.client import HubClient
    from release_kit.release.verify.repair import recorded_source, repair_manifest

    def look() -> Inspection:
        return inspect(folder, options, cache=cache, on_start=bar.start, on_bytes=bar.advance)

    try:
        inspection = look()
        if not any(difference.code in ("manifest", "placement") for difference in inspection.differences):
            return inspection
    except UsageError:
        raise
    except ReleaseKitError:
        if recorded_source(folder) is None:
            raise
    selection = recorded_source(folder)
    if selection is None:
        return look()
    with HubClient(endpoint or selection.endpoint) as client:
        repair_manifest(folder, client, selection)
    return look()


@contextlib.contextmanager
def _source(inspection: Inspection, origin: str | None, endpoint: str | None, bar: Progress) -> Iterator[tuple]:
    """Yield ``(client, release)`` to repair from; both None when everything that is needed is on this disk."""
    from release_kit.release.verify.repair import needs_hub, recorded_source, reference_of

    selection = recorded_source(inspection.opened.scope.root)
    if not needs_hub(inspection) or (origin is None and selection is None):
        yield None, None
        return
    from release_kit.hub.client import HubClient
    from release_kit.hub.reference import parse_reference
    from release_kit.release.download.source import open_remote

    reference = parse_reference(origin) if origin else reference_of(selection)
    with HubClient(endpoint or reference.endpoint, on_wait=_waiter(bar)) as client:
        yield client, open_remote(client, reference)


def _sample_folder(folder: Path, options: VerifyOptions, n: int, seed: int) -> VerifyReport:
    from release_kit.release.verify.open import open_target
    from release_kit.release.verify.sample import LocalReader, sample, sample_report
    from release_kit.release.verify.scope import expected_files, list_found

    opened = open_target(folder, manifest=options.manifest, cell=options.cell, select=options.select)
    scope = opened.scope
    expected, _ = expected_files(scope, list_found(scope))
    result = sample(LocalReader(scope.locate), expected, n, seed)
    report = sample_report(result, scope.manifest, target=str(folder), kind=scope.kind, seed=seed)
    return _with_trust(report, trust_of(scope.manifest, opened.manifest_bytes, scope.manifest_path, options))


def _on_hub(
    folder: Path | None, reference: str | None, options: VerifyOptions, bar: Progress, endpoint: str | None,
    n_sample: int | None, seed: int,
) -> VerifyReport:  # fmt: skip
    """Verify what is on a Hub, against its own manifest or against that of ``folder``."""
    from release_kit.hub.client import HubClient
    from release_kit.hub.reference import parse_reference
    from release_kit.release.download.source import open_remote
    from release_kit.release.verify.open import open_target
    from release_kit.release.verify.remote import verify_remote
    from release_kit.release.verify.repair import recorded_source, reference_of

    local = open_target(folder, manifest=options.manifest).scope.manifest if folder is not None else None
    selection = recorded_source(folder) if folder is not None and reference is None else None
    if reference is None and selection is None:
        raise UsageError("it is not recorded where this release lies", next_step="name it: --remote NAMESPACE/STUDY")
    parsed = parse_reference(reference) if reference is not None else reference_of(selection)
    with HubClient(endpoint or parsed.endpoint, on_wait=_waiter(bar)) as client:
        release = open_remote(client, parsed)
        if n_sample is not None:
            return _sample_hub(client, release, options, n_sample, seed)
        report = verify_remote(
            client, release, manifest=local, select=options.select, workers=options.workers,
            on_start=bar.start, on_step=bar.advance,
        )  # fmt: skip
    return _with_trust(report, _remote_trust(release, options))


def _sample_hub(client, release, options: VerifyOptions, n: int, seed: int) -> VerifyReport:
    from release_kit.release.verify.sample import HubReader, sample, sample_report
    from release_kit.release.verify.scope import selected_names

    names = selected_names(release.manifest, options.select)
    expected = {
        path: entry
        for path, entry in release.manifest.iter_files()
        if path.startswith("cells/") and (names is None or path.split("/", 2)[1] in names)
    }
    result = sample(HubReader(client, release), expected, n, seed)
    target, n_requests = f"{release.index}@{release.revision}", client.request_count
    report = sample_report(result, release.manifest, target=target, kind="hub", seed=seed, n_requests=n_requests)
    return _with_trust(report, _remote_trust(release, options))


def _remote_trust(release, options: VerifyOptions) -> tuple[list[Difference], str | None]:
    """Check root and signature of a manifest that came from a Hub; a signature is checked as a file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, data in release.beside().items():
            (Path(folder) / Path(name).name).write_bytes(data)
        place = Path(folder) / MANIFEST_FILE
        return trust_of(release.manifest, release.manifest_bytes, place, options)


def _with_trust(report: VerifyReport, trust: tuple[list[Difference], str | None]) -> VerifyReport:
    differences, signed_by = trust
    return replace(report, differences=ordered([*report.differences, *differences]), signed_by=signed_by)


def _callbacks(bar: Progress):
    from release_kit.release.download.release import Callbacks

    return Callbacks(on_start=bar.start, on_bytes=bar.advance)


def _waiter(bar: Progress):
    return lambda seconds, reason: bar.say(f"waiting {seconds:.0f} s: {reason}")
