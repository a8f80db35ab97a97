"""Identical weights under several labels: the defect that no one sees, found from the Hub's own digests.

Judges equality of whole payloads first, then of single shards. The root of ``main`` may repeat one label: it is an
alias, and reported only when it repeats another than the last of its series.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from release_kit.hub.reference import Repo
from release_kit.release.audit.finding import Finding, some
from release_kit.release.audit.numbers import Series, parse_label
from release_kit.release.audit.units import Unit

Group = tuple[Unit, ...]


def check_payloads(units: Sequence[Unit], series: Sequence[Series]) -> list[Finding]:
    """Return the findings about equal weights among all units of the audit."""
    last = {list(one.members.values())[-1] for one in series}
    findings = []
    for group, stems in _equal_groups(units):
        labelled = tuple(unit for unit in group if not unit.is_alias)
        main = next((unit for unit in group if unit.is_alias), None)
        if len(labelled) > 1:
            findings.append(_identical(labelled, main, stems, units, last))
        elif len(labelled) == 1 and main is not None:
            findings += _main_elsewhere(main, labelled[0], series)
        else:
            findings += _aliases(group, stems)
    return findings + _shared_shards(units)


def _equal_groups(units: Iterable[Unit]) -> list[tuple[Group, tuple[str, ...]]]:
    """Return ``(units, names of their equal sets)`` for every payload that at least two units have."""
    holders: dict[str, dict[str, tuple[Unit, str]]] = defaultdict(dict)
    for unit in units:
        for one in unit.sets:
            if one.size_bytes:
                holders[one.payload].setdefault(unit.address, (unit, one.stem))
    merged: dict[tuple[str, ...], tuple[Group, list[str]]] = {}
    for found in holders.values():
        if len(found) < 2:
            continue
        ordered = sorted(found, key=label_order)
        group = tuple(found[address][0] for address in ordered)
        stems = {found[address][1] for address in ordered}
        merged.setdefault(tuple(ordered), (group, []))[1].extend(stems)
    return [(group, tuple(sorted(set(stems)))) for group, stems in merged.values()]


def _identical(
    labelled: Group, main: Unit | None, stems: tuple[str, ...], units: Sequence[Unit], last: set[str]
) -> Finding:
    kind, where, n_labels = _kind(labelled, units)
    ending = next((unit for unit in labelled if unit.address in last), None)
    code, served = "identical-payload", "the same weights"
    if ending is not None or main is not None:
        code = "serves-last-weights"
        served = f"the weights of {short_labels([ending])[0] if ending is not None else 'main'}"
    what = f"{len(labelled)} of {n_labels} {kind} serve {served} ({', '.join(stems)}): {some(short_labels(labelled))}"
    return Finding(
        code=code,
        severity="error",
        where=where,
        what=what,
        next_step="compare with the source of each label and publish the right weights; until then trust none of them",
        members=tuple(unit.address for unit in labelled),
        counts={"n_identical": len(labelled), "n_labels": n_labels},
    )


def _aliases(group: Group, stems: tuple[str, ...]) -> list[Finding]:
    """Report repos whose main branches (or versions) are equal; versions of one repo may be."""
    firsts = {unit.listing.repo: unit.address for unit in reversed(group)}
    if len(firsts) < 2:
        return []
    addresses = tuple(sorted(firsts.values(), key=label_order))
    return [
        Finding(
            code="identical-payload",
            severity="error",
            where=_place(set(firsts)),
            what=f"{len(addresses)} repos serve the same weights ({', '.join(stems)}): {some(addresses)}",
            next_step="compare with the source of each repo and publish the right weights",
            members=addresses,
            counts={"n_identical": len(addresses), "n_labels": len(addresses)},
        )
    ]


def _main_elsewhere(main: Unit, twin: Unit, series: Sequence[Series]) -> list[Finding]:
    """Report a main that repeats one label of a series, and not its last."""
    for one in series:
        addresses = list(one.members.values())
        if twin.address in addresses and twin.address != addresses[-1] and twin.listing.repo == main.listing.repo:
            names = (short_labels([twin])[0], addresses[-1].partition("@")[2])
            return [
                Finding(
                    code="main-not-last",
                    severity="warning",
                    where=main.address,
                    what=f"main serves the weights of {names[0]}, and the last of the series is {names[1]}",
                    next_step="move main to the last label, or say in the card which one it is",
                    members=(twin.address,),
                )
            ]
    return []


def _shared_shards(units: Sequence[Unit]) -> list[Finding]:
    """Report single shards that are equal where the whole sets differ."""
    holders: dict[str, dict[str, tuple[str, str, bool]]] = defaultdict(dict)
    for unit in units:
        for one in unit.sets:
            for file in one.files if len(one.files) > 1 else ():
                holders[file.identity][unit.address] = (file.path, one.payload, unit.is_alias)
    by_members: dict[tuple[tuple[str, ...], str, int], list[str]] = defaultdict(list)
    for found in holders.values():
        sizes = Counter(payload for _, payload, _ in found.values())
        if len(sizes) < 2:
            continue
        # Of the payloads that hold the shard, the one that most labels serve is taken as its home.
        home = max(sizes, key=lambda payload: (sizes[payload], payload))
        rest = sorted((a for a, item in found.items() if item[1] != home and not item[2]), key=label_order)
        owner = max((a for a, item in found.items() if item[1] == home), key=label_order)
        if rest:
            by_members[tuple(rest), owner, sizes[home] - 1].append(found[owner][0])
    return [_shared(*key, sorted(set(paths))) for key, paths in sorted(by_members.items())]


def _shared(addresses: tuple[str, ...], owner: str, n_more: int, paths: list[str]) -> Finding:
    names = [address.partition("@")[2] for address in addresses]
    more = f" (and {n_more} more)" if n_more else ""
    what = f"{some(paths)} of {some(names)} is that of {owner.partition('@')[2]}{more}; the other shards differ"
    return Finding(
        code="shared-shard",
        severity="warning",
        where=addresses[0] if len(addresses) == 1 else addresses[0].partition("@")[0],
        what=what,
        next_step="compare the shard with the source of each label; frozen layers are the one good reason",
        members=(*addresses, owner),
        counts={"n_shards": len(paths), "n_labels": len(addresses)},
    )


def _kind(labelled: Group, units: Sequence[Unit]) -> tuple[str, str, int]:
    """Return what the labels are called, the place that they share, and how many such labels there are."""
    repos = {unit.listing.repo for unit in labelled}
    if len(repos) > 1:
        return "labels", _place(repos), sum(1 for unit in units if not unit.is_alias)
    (repo,) = repos
    own = [unit for unit in units if unit.listing.repo == repo and not unit.is_alias]
    revisions = {unit.listing.revision for unit in labelled}
    folders = {unit.folder for unit in labelled}
    if len(revisions) > 1:
        peers = {unit.listing.revision for unit in own if unit.folder in folders}
        return "branches", str(repo), len(peers)
    peers_here = sum(1 for unit in own if unit.listing.revision in revisions)
    return "folders", f"{repo}@{revisions.pop()}", peers_here


def short_labels(units: Iterable[Unit]) -> list[str]:
    """Return the part of each address that tells it from its siblings."""
    units = list(units)
    if len({unit.listing.repo for unit in units}) > 1:
        return [unit.address for unit in units]
    if len({unit.listing.revision for unit in units}) > 1 or not any(unit.folder for unit in units):
        return [f"{unit.listing.revision}:{unit.folder}" if unit.folder else unit.listing.revision for unit in units]
    return [unit.folder for unit in units]


def label_order(address: str) -> tuple:
    """Sort labels by their numbers, so that step2000 stands before step10000."""
    label = parse_label(address)
    return (label.skeleton, label.values, address)


def _place(repos: set[Repo]) -> str:
    namespaces = sorted({repo.namespace for repo in repos})
    return str(next(iter(repos))) if len(repos) == 1 else ", ".join(namespaces)
