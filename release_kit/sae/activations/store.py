"""Activations on disk, each set under the digest of everything that decides its values.

Owns the key, the bound on disk, and reading truly shuffled batches. A set counts as there when ``activations.json``,
written last, is; every shard is held against its digest when it is read. Making them is ``collect.py``'s, the files
themselves are ``shards.py``'s.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.core.canonical import read_json
from release_kit.sae.activations.order import Rows, draw, inner_order, iter_batches
from release_kit.sae.activations.shards import read_shard, shard_path
from release_kit.sae.errors import ActivationError

if TYPE_CHECKING:
    import torch

SCHEMA_VERSION = 1
RECORD_FILE, ORDER_FILE = "activations.json", "order.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class ActivationStore:
    """A finished set of activations.

    Attributes:
        key: digest of what decides the values.
        folder: where it lies.
        layers: ascending.
        d_model: width.
        dtype: of stored values; batches are float32.
        order: (n_tokens,) int64, numbers of tokens, shard by shard.
        starts: (n_shards + 1,) where each shard begins in ``order``.
        sha256: layer → digests of its shards.
        mean_square: layer → mean of ``x²`` over all tokens and coordinates.
        remade: shards that were damaged and have been made again by the call that returned this.
    """

    key: str
    folder: Path
    layers: tuple[int, ...]
    d_model: int
    dtype: str
    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    sha256: Mapping[int, tuple[str, ...]]
    mean_square: Mapping[int, float]
    remade: tuple[str, ...] = field(default=())

    @property
    def n_tokens(self) -> int:
        """Tokens, the same for all layers."""
        return len(self.order)

    def batches(
        self, layer: int, batch_rows: int, seed: int, start: int = 0, passes: int | None = 1
    ) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
        """Yield ``(x (n, d_model) float32, numbers of tokens (n,) int64)``, shuffled over all tokens.

        Each pass is a random order of all tokens of its own. Only the last batch can be shorter than ``batch_rows``.

        Args:
            layer: one of ``layers``.
            batch_rows: tokens of a batch.
            seed: decides the order.
            start: number of the first batch, to go on after so many.
            passes: how often every token comes; None goes on for ever.

        Raises:
            ActivationError: there is no such layer, or a shard is damaged.
        """
        for rows, index in self.joint([layer], batch_rows, seed, start, passes):
            yield rows[layer], index

    def joint(
        self, layers: Sequence[int], batch_rows: int, seed: int, start: int = 0, passes: int | None = 1
    ) -> Iterator[Rows]:
        """Yield ``(layer → x, numbers of tokens)``: the same tokens of several layers; otherwise as ``batches``."""
        if absent := [layer for layer in layers if layer not in self.layers]:
            raise ActivationError(
                f"there is no layer {absent[0]}; there are {list(self.layers)}", where=str(self.folder)
            )
        return iter_batches(_Shuffled(store=self, layers=tuple(layers), seed=seed), batch_rows, start, passes)

    def remove(self) -> None:
        """Remove the set; the record goes first, so that no half set is ever taken for a whole one."""
        (self.folder / RECORD_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class _Shuffled:
    """Shards in a drawn order, each shuffled inside."""

    store: ActivationStore
    layers: tuple[int, ...]
    seed: int

    def sizes(self, turn: int) -> list[int]:
        return [int(n) for n in np.diff(self.store.starts)[self._visits(turn)]]

    def load(self, turn: int, place: int) -> Rows:
        import torch

        store, shard = self.store, int(self._visits(turn)[place])
        start, stop = store.starts[shard : shard + 2]
        inner = torch.from_numpy(inner_order(int(stop - start), self.seed, turn, shard))
        rows = {}
        for layer in self.layers:
            path = shard_path(store.folder, layer, shard)
            rows[layer] = read_shard(path, store.sha256[layer][shard], store.d_model, store.dtype)[inner].float()
        return rows, torch.from_numpy(store.order[start:stop].copy())[inner]

    def _visits(self, turn: int) -> npt.NDArray[np.int64]:
        return draw(self.seed, "visit", turn).permutation(len(self.store.starts) - 1)


def read_store(home: Path, key: str | None = None) -> ActivationStore | None:
    """Return the finished set in a folder, None where there is none.

    Args:
        home: folder of one set.
        key: that it must have; any if None.

    Raises:
        ActivationError: it has another key, or its record is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (home / RECORD_FILE).is_file():
        return None
    try:
        record = read_json(home / RECORD_FILE)
        if record["schema_version"] != SCHEMA_VERSION or (key is not None and record["key"] != key):
            raise ActivationError("holds activations of something else", where=str(home), next_step="remove the folder")
        tables = load_file(home / ORDER_FILE)
        layers = {int(layer): facts for layer, facts in record["layers"].items()}
        return ActivationStore(
            key=record["key"], folder=home, layers=tuple(sorted(layers)), d_model=record["d_model"],
            dtype=record["dtype"], order=tables["order"], starts=tables["starts"],
            sha256={layer: tuple(facts["sha256"]) for layer, facts in layers.items()},
            mean_square={layer: facts["mean_square"] for layer, facts in layers.items()},
        )  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        what = f"the record of these activations is damaged ({error})"
        raise ActivationError(what, where=str(home), next_step="remove the folder; they are made again") from error


def stored(folder: Path) -> dict[str, int]:
    """Return key → bytes of every set below ``folder``, finished or not."""
    if not folder.is_dir():
        return {}
    homes = sorted(path for path in folder.iterdir() if path.is_dir())
    return {home.name: sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) for home in homes}


def record_of(store: ActivationStore, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON form of ``activations.json``."""
    layers = {
        str(layer): {"sha256": list(store.sha256[layer]), "mean_square": store.mean_square[layer]}
        for layer in store.layers
    }
    return {"schema_version": SCHEMA_VERSION, "key": store.key, "identity": dict(identity), "n_tokens": store.n_tokens,
            "d_model": store.d_model, "dtype": store.dtype, "layers": layers}  # fmt: skip
