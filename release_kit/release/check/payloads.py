"""Is the content under each label its own: equal files, equal tensors, nearly equal ones, and the untouched base.

Nothing is compared pair by pair over the grid: files and tensors are looked up by digest, so that a thousand cells cost
a thousand look-ups. Zero tensors are evidence of nothing and are not counted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from release_kit.core.hashing import TensorDigest
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import CellView, Survey

NEARLY = 0.9
"""From this share of equal tensors on, two checkpoints are reported as nearly equal."""

FEWEST_TENSORS = 8
"""Fewer comparable tensors than this say nothing about "nearly"."""

TensorKey = tuple[str, str]
"""(name, BLAKE3 of the bytes)"""


def check_payloads(survey: Survey) -> Iterator[Problem]:
    """Yield every cell whose weights are those of another label or of its base model."""
    views = [view for view in survey.cells.values() if view.weights]
    yield from _bases(survey, views)
    against_base = {view.cell.cell_id: found for view in views if (found := _against_base(survey, view))}
    yield from against_base.values()
    untouched = {cell_id for cell_id, found in against_base.items() if found.code == "payload-is-base"}
    trained = [view for view in views if view.cell.cell_id not in untouched]
    reported = {frozenset(pair) for cell_ids in survey.shared_folders for pair in combinations(cell_ids, 2)}
    yield from _same_files(survey, trained, reported)
    yield from _same_tensors(survey, trained, reported)
    yield from _nearly_same(survey, trained, reported)


def _bases(survey: Survey, views: list[CellView]) -> Iterator[Problem]:
    used = {id(base): base for view in views if (base := survey.base_of(view)) is not None and _is_full(view)}
    for base in used.values():
        if base.problem:
            where = f"base model {base.level}"
            folder = base.properties.get("path")
            yield problem("base-unreadable", where, f"{folder}: {base.problem}", path="study.yaml")
        elif base.folder is None:
            what = "no `path` is declared, so nothing was compared with its weights"
            yield problem("base-not-compared", f"base model {base.level}", what, path="study.yaml")


def _is_full(view: CellView) -> bool:
    return not view.is_adapter and not view.baseline


def _against_base(survey: Survey, view: CellView) -> Problem | None:
    base = survey.base_of(view)
    counted = _evidence(view.tensors.values())
    if base is None or not base.tensors or not counted or view.baseline:
        return None
    equal = sum(1 for t in counted if t.name in base.tensors and base.tensors[t.name].blake3 == t.blake3)
    what = f"{equal} of {len(counted)} tensors equal those of {base.level}"
    cell_id = view.cell.cell_id
    if equal == len(counted):
        return problem("payload-is-base", view.where, f"{what}: this is not fine-tuned", cell_id=cell_id)
    if equal >= NEARLY * len(counted) and len(counted) >= FEWEST_TENSORS:
        return problem("payload-mostly-base", view.where, what, cell_id=cell_id)
    return None


def _same_files(survey: Survey, views: list[CellView], reported: set[frozenset[str]]) -> Iterator[Problem]:
    holders: dict[str, list[tuple[CellView, str, str]]] = defaultdict(list)
    for view in views:
        for file in view.weights:
            if file.sha256 is not None:
                holders[file.sha256].append((view, file.inner, file.path))
    shared: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    by_id = {view.cell.cell_id: view for view in views}
    for places in holders.values():
        first = places[0][0]
        for view, inner, path in places[1:]:
            if view is not first:
                shared[first.cell.cell_id, view.cell.cell_id].append((inner, path))
    for (one, other), files in shared.items():
        if frozenset((one, other)) in reported or survey.one_baseline(one, other):
            continue
        reported.add(frozenset((one, other)))
        view = by_id[other]
        what = f"{_files(files, view)} byte for byte equal to those of {survey.other(one, other)}"
        yield problem("payload-identical-file", view.where, what, cell_id=other, path=files[0][1])


def _files(files: list[tuple[str, str]], view: CellView) -> str:
    if len(view.weights) == 1:
        return f"{files[0][0]} is"
    named = ", ".join(inner for inner, _ in files[:3]) + (" …" if len(files) > 3 else "")
    return f"{len(files)} of {len(view.weights)} weight files ({named}) are"


def _same_tensors(survey: Survey, views: list[CellView], reported: set[frozenset[str]]) -> Iterator[Problem]:
    """Compare the bytes of tensors without their names: a renamed copy is a copy."""
    groups: dict[frozenset, list[CellView]] = defaultdict(list)
    for view in views:
        contents = Counter(tensor.blake3 for tensor in _evidence(view.tensors.values()))
        if contents:
            groups[frozenset(contents.items())].append(view)
    for group in groups.values():
        for view in group[1:]:
            first, cell_id = group[0].cell.cell_id, view.cell.cell_id
            if frozenset((first, cell_id)) not in reported and not survey.one_baseline(first, cell_id):
                reported.add(frozenset((first, cell_id)))
                n = len(_evidence(view.tensors.values()))
                what = f"{n} of {n} tensors equal those of {survey.other(first, cell_id)}"
                yield problem("payload-identical-tensors", view.where, what, cell_id=cell_id)


def _nearly_same(survey: Survey, views: list[CellView], reported: set[frozenset[str]]) -> Iterator[Problem]:
    """Find the closest partner of each cell by votes: each tensor names the first cell that holds it."""
    keys = {view.cell.cell_id: _trained(survey, view) for view in views}
    by_id = {view.cell.cell_id: view for view in views}
    first_holder: dict[TensorKey, str] = {}
    for cell_id, trained in keys.items():
        votes = Counter(first_holder.setdefault(key, cell_id) for key in trained)
        del votes[cell_id]
        best = max((partner for partner, _ in votes.most_common(3)), key=lambda p: _equal(keys, p, cell_id), default="")
        n = len(trained)
        if not best or n < FEWEST_TENSORS or frozenset((best, cell_id)) in reported:
            continue
        if survey.one_baseline(best, cell_id):
            continue
        equal = _equal(keys, best, cell_id)
        if equal >= NEARLY * n:
            what = f"{equal} of {n} trained tensors equal those of {survey.other(best, cell_id)}"
            yield problem("payload-nearly-identical", by_id[cell_id].where, what, cell_id=cell_id)


def _equal(keys: dict[str, set[TensorKey]], one: str, other: str) -> int:
    return len(keys[one] & keys[other])


def _trained(survey: Survey, view: CellView) -> set[TensorKey]:
    """Return the tensors that training can have made: neither zero nor the base model's own."""
    base = survey.base_of(view)
    known = base.tensors if base is not None else {}
    return {
        (tensor.name, tensor.blake3)
        for tensor in _evidence(view.tensors.values())
        if tensor.name not in known or known[tensor.name].blake3 != tensor.blake3
    }


def _evidence(tensors: Iterable[TensorDigest]) -> list[TensorDigest]:
    return [tensor for tensor in tensors if not tensor.zero and tensor.n_bytes]
