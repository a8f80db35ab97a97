"""Features of one autoencoder found again in another: over training steps (links) and over seeds (stability).

Matching takes the number of features cubed, so what was found is kept on disk under the digests of both autoencoders
and of the features that are alive; the files can be removed at any time.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.core import canonical
from release_kit.core.files import write_atomic
from release_kit.sae.metrics.stability import SAME
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.pipeline.read import FinishedSae
from release_kit.sae.train.matching import Matched, match_features

if TYPE_CHECKING:
    import torch

MATCHES = "matches"
MATCHING_VERSION = 1
LEAST_LINK = 0.5
"""Links below this cosine are left out: the browser calls it another feature."""
Alive = Mapping[SaeKey, npt.NDArray[np.bool_]]


class Matches:
    """Matched features of any two autoencoders, from disk where they were matched before.

    Args:
        tables: folder of the tables. report: told how many were matched.
    """

    def __init__(self, tables: Path, report: Callable[[str, int, int], None]) -> None:
        self._folder, self._report = tables / MATCHES, report
        self._decoders: dict[SaeKey, torch.Tensor] = {}
        self._done = 0

    def of(self, one: FinishedSae, other: FinishedSae, alive: Alive) -> Matched:
        """Return the living features of one that are found again in another."""
        return self._kept(one, other, alive, lambda: self._decoder(other))

    def null_of(self, one: FinishedSae, other: FinishedSae, alive: Alive) -> Matched:
        """Return the same for random directions in place of the other one's."""
        return self._kept(one, other, alive, lambda: self._noise(one, other), null=True)

    def _kept(
        self, one: FinishedSae, other: FinishedSae, alive: Alive, second: "Callable[[], torch.Tensor]", *,
        null: bool = False,
    ) -> Matched:  # fmt: skip
        import torch

        living = [np.ascontiguousarray(alive[each.key]) for each in (one, other)]
        what = {
            "version": MATCHING_VERSION, "null": null, "saes": [each.files_digest for each in (one, other)],
            "alive": [hashlib.sha256(each.tobytes()).hexdigest() for each in living],
            "seeds": [one.key.seed, other.key.seed],
        }  # fmt: skip
        path = self._folder / f"{canonical.digest(what)[:32]}.safetensors"
        self._done += 1
        self._report("tables", self._done, 0)
        if found := _read(path):
            return found
        tensors = tuple(torch.from_numpy(each) for each in living)
        matched = match_features(self._decoder(one), second(), alive=tensors)
        write_atomic(path, _bytes(matched))
        return matched

    def _decoder(self, one: FinishedSae) -> "torch.Tensor":
        if one.key not in self._decoders:
            if len(self._decoders) >= 8:
                self._decoders.pop(next(iter(self._decoders)))
            self._decoders[one.key] = one.load().w_dec
        return self._decoders[one.key]

    def _noise(self, one: FinishedSae, other: FinishedSae) -> "torch.Tensor":
        import torch

        rng = np.random.default_rng([one.key.seed, other.key.seed, 13])
        shape = tuple(self._decoder(other).shape)
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def link_rows(saes: Sequence[FinishedSae], alive: Alive, matches: Matches) -> Iterator[dict[str, Any]]:
    """Yield the features that go on from one step to the next, of every size, layer and seed.

    Args:
        saes: finished ones. alive: which of their features fire. matches: of them.
    """
    for (size, layer, seed), row in _rows_of(saes, lambda key: (key.size, key.layer, key.seed)):
        for one, other in pairwise(sorted(row, key=lambda each: each.key.step)):
            found = matches.of(one, other, alive)
            for first, second, cosine in zip(
                found.first.tolist(), found.second.tolist(), found.cosine.tolist(), strict=True
            ):
                if cosine >= LEAST_LINK:
                    yield {
                        "size": size, "layer": layer, "seed": seed, "from_step": one.key.step, "from_feature": first,
                        "to_step": other.key.step, "to_feature": second, "cosine": cosine,
                    }  # fmt: skip


def stability_rows(saes: Sequence[FinishedSae], alive: Alive, matches: Matches) -> Iterator[dict[str, Any]]:
    """Yield every two seeds of every size, step and layer compared, beside random directions.

    Args:
        saes: finished ones. alive: which of their features fire. matches: of them.
    """
    for (size, step, layer), row in _rows_of(saes, lambda key: (key.size, key.step, key.layer)):
        for one, other in combinations(sorted(row, key=lambda each: each.key.seed), 2):
            found, null = matches.of(one, other, alive), matches.null_of(one, other, alive)
            yield {
                "size": size, "step": step, "layer": layer, "seed": one.key.seed, "other_seed": other.key.seed,
                "share_matched": found.share(SAME), "mean_cosine": _mean(found), "null_share_matched": null.share(SAME),
                "null_mean_cosine": _mean(null),
            }  # fmt: skip


def _rows_of(
    saes: Sequence[FinishedSae], place: Callable[[SaeKey], tuple]
) -> Iterator[tuple[tuple, list[FinishedSae]]]:
    rows: dict[tuple, list[FinishedSae]] = {}
    for one in saes:
        rows.setdefault(place(one.key), []).append(one)
    yield from rows.items()


def _mean(matched: Matched) -> float:
    return float(matched.cosine.mean()) if len(matched.cosine) else float("nan")


def _bytes(matched: Matched) -> bytes:
    from safetensors.numpy import save

    return save({"first": matched.first, "second": matched.second, "cosine": matched.cosine,
                 "n_first": np.array([matched.n_first], np.int64)})  # fmt: skip


def _read(path: Path) -> Matched | None:
    """Return what was kept; None where there is nothing, or nothing whole."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(path.read_bytes())
        return Matched(
            first=tensors["first"],
            second=tensors["second"],
            cosine=tensors["cosine"],
            n_first=int(tensors["n_first"][0]),
        )
    except (OSError, SafetensorError, KeyError):
        return None
