"""Audits of releases made by others, from what the Hub itself says: listings and small text files, never weights.

This file puts the parts together: reading (``reading.py``, ``facts.py``), what is compared (``units.py``,
``numbers.py``), the rules (``payloads.py``, ``series.py``, ``contents.py``, ``cards.py``). It knows nothing of
manifests: a release that never heard of release_kit is audited like any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core.errors import HubError, UsageError
from release_kit.hub.client import HubClient
from release_kit.release.audit.cards import check_adapters, check_cards
from release_kit.release.audit.contents import check_formats, check_labels, check_shards
from release_kit.release.audit.facts import FactBook, n_wanted, read_facts
from release_kit.release.audit.finding import SEVERITIES, Finding, in_order
from release_kit.release.audit.numbers import find_series, match_series, parse_expected, parse_label
from release_kit.release.audit.payloads import check_payloads
from release_kit.release.audit.reading import list_everything, parse_targets
from release_kit.release.audit.series import check_series, check_siblings
from release_kit.release.audit.units import Listing, Unit, places_of, units_of


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What to look at.

    Raises:
        UsageError: ``expect`` without ``series``, or one of them is malformed.
    """

    series: str | None = None
    """Pattern of the labels of the series that was promised: ``step{n}``."""
    expect: str | None = None
    """Values that it promised: ``0,1,2,4,1000:143000:1000``."""
    tags: bool = False
    """Also look at tags that point at commits of their own."""
    read_files: bool = True
    """Read cards, indexes and configs; without it listings only."""
    workers: int = 8

    def __post_init__(self) -> None:
        if self.expect is not None and self.series is None:
            raise UsageError("--expect needs --series", next_step="write --series 'step{n}' --expect 0:143000:1000")
        if self.series is not None:
            match_series(self.series, ())
        if self.expect is not None:
            parse_expected(self.expect)


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What an audit saw and found."""

    findings: tuple[Finding, ...]
    n_repos: int
    n_revisions: int
    n_files: int
    n_units: int
    size_bytes: int
    """Bytes of all weights that were compared; none of them was downloaded."""
    n_requests: int
    n_small_files: int
    """Small text files read, each distinct content once."""

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def count(self, severity: str) -> int:
        """Return the number of findings of one severity."""
        return sum(1 for finding in self.findings if finding.severity == severity)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "n_repos": self.n_repos,
            "n_revisions": self.n_revisions,
            "n_files": self.n_files,
            "n_units": self.n_units,
            "size_bytes": self.size_bytes,
            "n_requests": self.n_requests,
            "n_small_files": self.n_small_files,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "problems": [finding.to_dict() for finding in self.findings],
        }


def audit_releases(
    client: HubClient,
    targets: Sequence[str],
    options: AuditOptions | None = None,
    *,
    on_stage: Callable[[str, int], None] = lambda label, total: None,
    on_done: Callable[[], None] = lambda: None,
) -> AuditReport:
    """Audit repos, or all models of an account, from metadata.

    Requests: one for the branches of each repo, one listing (a page for each thousand files) for each commit, one
    for each distinct small file.

    Args:
        client: the Hub.
        targets: ``namespace/name``, ``namespace/name@revision``, ``datasets/namespace/name`` or ``namespace``.
        options: what to look at.
        on_stage: told the name of each stage and how many requests it will make.
        on_done: told after each request.

    Raises:
        UsageError: a target is malformed.
        NotFoundError: a repo that was named does not exist.
        HubError: an account without models, or nothing to look at.
        UnreachableError: the Hub does not answer.
    """
    options = options or AuditOptions()
    before = client.request_count
    references = parse_targets(client, targets)
    listings, problems = list_everything(client, references, options, on_stage, on_done)
    if not listings and not problems:
        raise HubError("nothing was found to look at", where=", ".join(targets), next_step="check name and endpoint")
    facts = FactBook({})
    n_small = 0
    if options.read_files:
        n_small = n_wanted(listings)
        on_stage("reading cards and indexes", n_small)
        facts = read_facts(client, listings, workers=options.workers, on_read=on_done)
    units = [unit for listing in listings for unit in units_of(listing)]
    return AuditReport(
        findings=in_order([*problems, *_judge(listings, units, facts, options)]),
        n_repos=len({listing.repo for listing in listings}),
        n_revisions=len(listings),
        n_files=sum(len(listing.files) for listing in listings),
        n_units=len(units),
        size_bytes=sum(one.size_bytes for unit in units for one in unit.sets),
        n_requests=client.request_count - before,
        n_small_files=n_small,
    )


def _judge(listings: Sequence[Listing], units: Sequence[Unit], facts: FactBook, options: AuditOptions) -> list[Finding]:
    """Apply every rule; all findings at once."""
    kinds = {parse_label(unit.address).skeleton for unit in units}
    places = {place for listing in listings for place in places_of(listing)}
    addresses = {place for place in places if parse_label(place).skeleton in kinds}
    declared = parse_expected(options.expect) if options.expect is not None else None
    series = match_series(options.series, addresses) if options.series else find_series(addresses)
    own = find_series(addresses) if options.series else series
    findings = check_series(series, declared)
    if options.series and not series:
        what = f"no branch, folder or repo is called {options.series}"
        step = "compare --series with the names on the Hub"
        findings.append(Finding(code="missing-label", severity="error", where="--series", what=what, next_step=step))
    findings += check_siblings(listings, units)
    findings += check_payloads(units, own)
    findings += check_shards(units, facts)
    findings += check_formats(units)
    findings += check_labels(units, own, facts)
    if options.read_files:
        findings += check_cards(listings, units, facts)
        findings += check_adapters(units, facts)
    return findings
