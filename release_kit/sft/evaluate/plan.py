"""Which tokens are computed in which row: shared prefixes once, branches side by side, many documents in one row.

Pure decisions over token ids; knows neither torch nor tasks. A plan depends on the requests alone, never on a batch
size, so a score does not either. ``scorer.py`` runs the rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

ROW_TOKENS = 512
"""New tokens of one row; more only where a single document has more."""
MIN_TRUNK = 32
"""A prefix shorter than this is cheaper to compute again in each row than to keep apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A text to score: how likely are the ``targets`` after the tokens before them."""

    inputs: tuple[int, ...]
    """(n_inputs,): context and continuation without its last token."""
    targets: tuple[int, ...]
    """(n_targets,): the continuation; ``inputs[n_inputs - n_targets + i]`` predicts ``targets[i]``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Where one request finds its predictions in a row."""

    request: int
    """Index of the request."""
    positions: tuple[int, ...]
    """(n_targets,): places in the row whose next-token distribution is asked for its targets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Tokens of one forward pass: a forest of branches that all continue the same trunk."""

    trunk: tuple[tuple[int, ...], ...]
    """Prefix that every token sees, in pieces as they are computed (nested trunks share their first pieces)."""
    ids: tuple[int, ...]
    """(n_tokens,)"""
    parents: tuple[int, ...]
    """(n_tokens,): place of the token before it in its own branch; -1: the token follows the trunk."""
    wanted: tuple[Wanted, ...]

    @property
    def is_chain(self) -> bool:
        """Whether the row is one text, so that the plain causal mask is right."""
        return all(parent == place - 1 for place, parent in enumerate(self.parents))

    def depths(self) -> list[int]:
        """Return the position of every token in its own text, (n_tokens,)."""
        start = sum(map(len, self.trunk))
        depths: list[int] = []
        for parent in self.parents:
            depths.append(start if parent < 0 else depths[parent] + 1)
        return depths


def plan_rows(requests: Sequence[Scored], *, row_tokens: int = ROW_TOKENS, min_trunk: int = MIN_TRUNK) -> list[Row]:
    """Return rows in which every request is computed once; rows with one trunk stand beside each other.

    Requests are sorted by their tokens, so those with a common beginning are neighbours. A range of them that fits in
    a row is one item of it; a range that does not gets its common beginning as a trunk (computed once, kept as keys
    and values) and is split where its texts part.

    Args:
        requests: what to score; every one has at least one target.
        row_tokens: new tokens of a row.
        min_trunk: tokens that a trunk must add.

    Returns:
        Rows; the same for the same requests in the same order.
    """
    ordered = sorted(range(len(requests)), key=lambda index: (requests[index].inputs, index))
    shared = [0] + [common_prefix(requests[a].inputs, requests[b].inputs) for a, b in pairwise(ordered)]
    sorting = _Sorted([requests[index] for index in ordered], ordered, shared)
    rows: list[Row] = []
    open_row: list[tuple[int, int]] = []
    open_trunk: tuple[tuple[int, ...], ...] = ()
    filled = 0
    for low, high, trunk in _iter_items(sorting, row_tokens, min_trunk):
        base = sum(map(len, trunk))
        cost = sorting.cost(low, high, base)
        if open_row and (trunk != open_trunk or filled + cost > row_tokens):
            rows.append(_build_row(sorting, open_row, open_trunk))
            open_row, filled = [], 0
        open_row.append((low, high))
        open_trunk, filled = trunk, filled + cost
    if open_row:
        rows.append(_build_row(sorting, open_row, open_trunk))
    return rows


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two texts share at their beginning."""
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if first[:middle] == second[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True)
class _Sorted:
    """The requests in the order of their tokens, and what each shares with the one before it."""

    requests: list[Scored]
    origin: list[int]
    shared: list[int]

    def cost(self, low: int, high: int, base: int) -> int:
        """Return the tokens that the range adds to a row after ``base`` tokens of trunk."""
        cost = len(self.requests[low].inputs) - base
        for place in range(low + 1, high):
            cost += len(self.requests[place].inputs) - max(self.shared[place], base)
        return cost

    def common(self, low: int, high: int) -> int:
        """Return the tokens that all requests of the range share."""
        return min(self.shared[low + 1 : high], default=len(self.requests[low].inputs))

    def unscored(self, low: int, high: int) -> int:
        """Return the tokens that come before the first prediction of every request of the range."""
        return min(len(r.inputs) - len(r.targets) for r in self.requests[low:high])


def _iter_items(
    texts: _Sorted, row_tokens: int, min_trunk: int
) -> Iterator[tuple[int, int, tuple[tuple[int, ...], ...]]]:
    """Yield (first, end, trunk) of ranges that are laid into one row, in the order of their tokens."""
    stack: list[tuple[int, int, tuple[tuple[int, ...], ...]]] = []
    if texts.requests:
        stack.append((0, len(texts.requests), ()))
    while stack:
        low, high, trunk = stack.pop()
        base = sum(map(len, trunk))
        if high - low == 1 or texts.cost(low, high, base) <= row_tokens:
            yield low, high, trunk
            continue
        common = texts.common(low, high)
        usable = min(common, texts.unscored(low, high))
        if usable - base >= min_trunk:
            trunk = (*trunk, texts.requests[low].inputs[base:usable])
        parts = _parts(texts, low, high, common)
        if len(parts) == 1:
            yield low, high, trunk
            continue
        stack.extend((first, end, trunk) for first, end in reversed(parts))


def _parts(texts: _Sorted, low: int, high: int, common: int) -> list[tuple[int, int]]:
    """Split a range where its texts part; those that end there (all equal) stay together."""
    lengths = [len(request.inputs) for request in texts.requests[low:high]]
    cuts = [
        place
        for place in range(low + 1, high)
        if texts.shared[place] == common and not lengths[place - 1 - low] == lengths[place - low] == common
    ]
    edges = [low, *cuts, high]
    return list(pairwise(edges))


def _build_row(texts: _Sorted, ranges: list[tuple[int, int]], trunk: tuple[tuple[int, ...], ...]) -> Row:
    """Lay ranges into a row; a request reuses the places of the beginning that it shares with the one before it."""
    base = sum(map(len, trunk))
    ids: list[int] = []
    parents: list[int] = []
    wanted: list[Wanted] = []
    path: list[int] = []
    before: tuple[int, ...] | None = None
    for place in (place for low, high in ranges for place in range(low, high)):
        request = texts.requests[place]
        reused = 0 if before is None else max(common_prefix(before, request.inputs) - base, 0)
        del path[reused:]
        for token in request.inputs[base + reused :]:
            parents.append(path[-1] if path else -1)
            path.append(len(ids))
            ids.append(token)
        n_targets = len(request.targets)
        wanted.append(Wanted(request=texts.origin[place], positions=tuple(path[-n_targets:])))
        before = request.inputs
    return Row(trunk=trunk, ids=tuple(ids), parents=tuple(parents), wanted=tuple(wanted))
