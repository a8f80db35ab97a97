"""Making a set of activations: one pass over the texts for all layers, bounded on disk, taken up again after a stop.

Rows of the model's batches go to the random shards of their tokens, through buffers that are written out together. What
was written is known from the number of batches that are done, so a killed pass cuts the growing shards back to that
and goes on. A shard that is damaged later is found by its digest, and made again alone.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.core.canonical import digest, document_bytes, read_json
from release_kit.core.digest_cache import DigestCache, default_cache_path, digest_files
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import LINGER_S, TEMPORARY_PREFIX, exclusive, write_atomic, write_error
from release_kit.core.wording import counted
from release_kit.sae.activations.shards import (
    DTYPES,
    Plan,
    append,
    as_bytes,
    header,
    part_path,
    plan_shards,
    read_shard,
    shard_path,
)
from release_kit.sae.activations.store import (
    ORDER_FILE,
    RECORD_FILE,
    SCHEMA_VERSION,
    ActivationStore,
    read_store,
    record_of,
    stored,
)
from release_kit.sae.activations.take import check_ids, take
from release_kit.sae.activations.tokens import Batch, TokenBatches
from release_kit.sae.errors import ActivationError, NoRoomError
from release_kit.sae.models.hooks import HOOK_VERSION, check_layers
from release_kit.sae.models.load import LanguageModel

SHARD_BYTES = 64 * 2**20
BATCH_TOKENS = 8192
BUFFER_BYTES = 128 * 2**20
"""Values of all shards that wait in memory until they are written together."""
PROGRESS_FILE = f"{TEMPORARY_PREFIX}progress.json"

Progress = Callable[[int, int], None]
"""Told how many tokens are done, and of how many."""


def collect(
    lm: LanguageModel,
    tokens: TokenBatches,
    layers: Sequence[int],
    folder: Path,
    *,
    dtype: str = "bfloat16",
    seed: int = 0,
    max_bytes: int | None = None,
    progress: Progress | None = None,
    batch_tokens: int = BATCH_TOKENS,
    shard_bytes: int = SHARD_BYTES,
    buffer_bytes: int = BUFFER_BYTES,
) -> ActivationStore:
    """Return the activations of texts at several layers, from ``folder`` where they are there and whole, else made now.

    Args:
        lm: the model.
        tokens: of all texts.
        layers: 0 to ``lm.n_layers``; all of them come from one forward pass.
        folder: of all sets; this one goes to ``<folder>/<key>``.
        dtype: of stored values, ``bfloat16`` or ``float32``.
        seed: decides which tokens share a shard.
        max_bytes: what all sets in ``folder`` may take together; no bound if None.
        progress: told after each batch.
        batch_tokens: places of a forward pass, padding counted.
        shard_bytes: most bytes of a shard; two shards of each layer that is read at once must fit in memory.
        buffer_bytes: values that wait in memory before they are written.

    Raises:
        ActivationError: an unknown layer, tokens of another tokenizer, a value that is no number, more bytes than are
            allowed; or a shard made again has other bytes than before.
        NoRoomError: the disk has too little room.
        ReleaseKitError: it is full, or another process makes the same set; the same call goes on later.
    """
    layers = sorted(set(layers))
    _check(lm, tokens, layers, dtype)
    identity = _identity(lm, tokens, layers, dtype, seed, batch_tokens, shard_bytes)
    key = digest(identity)[:32]
    home = folder / key
    with exclusive(home, "activations", wait_s=LINGER_S):
        before = read_store(home, key)
        damaged = _damaged(before) if before else []
        if before and not damaged:
            _remove_leftovers(home)
            return before
        plan = plan_shards(tokens, max(1, shard_bytes // (lm.d_model * DTYPES[dtype][1])), seed)
        _check_room(lm, tokens, layers, dtype, folder, key, max_bytes)
        todo = damaged or [(layer, shard) for layer in layers for shard in range(plan.n_shards)]
        run = _Pass(lm=lm, tokens=tokens, home=home, dtype=dtype, plan=plan, todo=frozenset(todo), key=key)
        run.go(batch_tokens, buffer_bytes, progress)
        return _finish(run, identity, layers, before)


@dataclass(kw_only=True)
class _Pass:
    """One pass over the texts that writes some shards."""

    lm: LanguageModel
    tokens: TokenBatches
    home: Path
    dtype: str
    plan: Plan
    todo: frozenset[tuple[int, int]]
    key: str
    waiting: dict[tuple[int, int], list[np.ndarray]] = field(default_factory=dict)

    def go(self, batch_tokens: int, buffer_bytes: int, progress: Progress | None) -> None:
        """Take all batches that are not done, write them out, and give finished shards their names."""
        rows = self.tokens.rows_by_length()
        done, n_tokens = self._taken_up(rows)
        layers, held = sorted({layer for layer, _ in self.todo}), 0
        for batch in self.tokens.batches(batch_tokens, rows[done:]):
            held += self._scatter(batch, take(self.lm, self.tokens, batch, layers))
            done, n_tokens = done + len(batch.input_ids), n_tokens + int(batch.kept().sum())
            if held >= buffer_bytes:
                self._write_out(done)
                held = 0
            if progress:
                progress(n_tokens, self.tokens.n_tokens)
        self._write_out(done)
        for layer, shard in sorted(self.todo):
            if part_path(self.home, layer, shard).exists():
                os.replace(part_path(self.home, layer, shard), shard_path(self.home, layer, shard))

    def _scatter(self, batch: Batch, values: Mapping[int, Any]) -> int:
        """Put the rows of a batch into the buffers of their shards; return how many bytes."""
        shards = self.plan.shard[batch.index[batch.kept()].numpy()]
        by_shard = np.argsort(shards, kind="stable")
        bounds = np.searchsorted(shards[by_shard], np.arange(self.plan.n_shards + 1))
        n_bytes = 0
        for layer, x in values.items():
            data = as_bytes(x, self.dtype)[by_shard]
            for shard in np.flatnonzero(np.diff(bounds)).tolist():
                if (layer, shard) in self.todo:
                    self.waiting.setdefault((layer, shard), []).append(data[bounds[shard] : bounds[shard + 1]])
            n_bytes += data.nbytes
        return n_bytes

    def _write_out(self, rows_done: int) -> None:
        """Append what waits, then say that it is there."""
        for (layer, shard), pieces in sorted(self.waiting.items()):
            path = part_path(self.home, layer, shard)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                append(path, self._head(shard), np.concatenate(pieces).tobytes())
            except OSError as error:
                raise write_error(path, error) from error
        self.waiting.clear()
        write_atomic(self.home / PROGRESS_FILE, document_bytes({**self._what(), "rows_done": rows_done}))

    def _taken_up(self, rows: np.ndarray) -> tuple[int, int]:
        """Cut growing shards back to what was said to be there; return the rows and tokens that are done."""
        done = self._rows_done()
        tokens_done = self.tokens.row_lengths()[rows[:done]]
        n_tokens = int(tokens_done.sum())
        arrived = np.zeros(self.tokens.n_tokens, bool)
        for row in rows[:done].tolist():
            arrived[self.tokens.row_starts[row] : self.tokens.row_starts[row + 1]] = True
        counts = np.bincount(self.plan.shard[arrived], minlength=self.plan.n_shards)
        sizes = {}
        for layer, shard in self.todo:
            n_rows = int(counts[shard])
            sizes[layer, shard] = n_rows and len(self._head(shard)) + n_rows * self._row_bytes
        if done and not all(self._there(*place) >= size for place, size in sizes.items()):
            done = n_tokens = 0
            sizes = dict.fromkeys(sizes, 0)
        for place, size in sizes.items():
            path = part_path(self.home, *place)
            if size == 0:
                path.unlink(missing_ok=True)
            elif path.exists():
                os.truncate(path, size)
        return done, n_tokens

    def _rows_done(self) -> int:
        try:
            said = read_json(self.home / PROGRESS_FILE)
            return int(said.pop("rows_done")) if {**said, "rows_done": 0} == {**self._what(), "rows_done": 0} else 0
        except (RecordError, KeyError, TypeError, AttributeError):
            return 0

    def _there(self, layer: int, shard: int) -> int:
        """Return the bytes of a shard that grows, or has its name already: a stop came between the two."""
        for path in (part_path(self.home, layer, shard), shard_path(self.home, layer, shard)):
            with contextlib.suppress(OSError):
                return path.stat().st_size
        return 0

    def _what(self) -> dict[str, Any]:
        return {"key": self.key, "todo": [list(place) for place in sorted(self.todo)]}

    def _head(self, shard: int) -> bytes:
        return header(self.plan.size(shard), self.lm.d_model, self.dtype)

    @property
    def _row_bytes(self) -> int:
        return self.lm.d_model * DTYPES[self.dtype][1]


def _finish(
    run: _Pass, identity: Mapping[str, Any], layers: Sequence[int], before: ActivationStore | None
) -> ActivationStore:
    """Digest what was made, hold it against what was there before, and write the record."""
    from safetensors.numpy import save

    sha256 = {layer: list(before.sha256[layer]) if before else [""] * run.plan.n_shards for layer in layers}
    for layer, shard in sorted(run.todo):
        path = shard_path(run.home, layer, shard)
        found = _sha256(path)
        if before and found != sha256[layer][shard]:
            what = (
                f"the shard made again is {found[:12]}, not {sha256[layer][shard][:12]}: this machine rounds otherwise"
            )
            raise ActivationError(what, where=str(path), next_step="remove the folder of the set and collect again")
        sha256[layer][shard] = found
    store = ActivationStore(
        key=run.key, folder=run.home, layers=tuple(layers), d_model=run.lm.d_model, dtype=run.dtype,
        order=run.plan.order, starts=run.plan.starts,
        sha256={layer: tuple(digests) for layer, digests in sha256.items()},
        mean_square=before.mean_square if before else {},
    )  # fmt: skip
    if before is None:
        store = dataclasses.replace(store, mean_square={layer: _mean_square(store, layer) for layer in layers})
        write_atomic(run.home / ORDER_FILE, save({"order": run.plan.order, "starts": run.plan.starts}))
        write_atomic(run.home / RECORD_FILE, document_bytes(record_of(store, identity)))
    _remove_leftovers(run.home)
    remade = tuple(shard_path(Path(), *place).as_posix() for place in sorted(run.todo)) if before else ()
    return dataclasses.replace(store, remade=remade)


def _remove_leftovers(home: Path) -> None:
    """Remove what says how far a pass is, and what a stop inside an atomic write left behind."""
    for path in home.glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)


def _mean_square(store: ActivationStore, layer: int) -> float:
    """Return the mean of x² over tokens and coordinates, summed in float64 in the order of the shards."""
    total = 0.0
    for shard, sha256 in enumerate(store.sha256[layer]):
        x = read_shard(shard_path(store.folder, layer, shard), sha256, store.d_model, store.dtype)
        total += sum(float(part.double().square().sum()) for part in x.split(8192))
    return total / (store.n_tokens * store.d_model)


def _damaged(store: ActivationStore) -> list[tuple[int, int]]:
    """Return (layer, shard) of every file that is not what the record says; unchanged files are not read again."""
    places = [(layer, shard) for layer in store.layers for shard in range(len(store.starts) - 1)]
    with DigestCache(default_cache_path()) as cache:
        paths = [shard_path(store.folder, *place) for place in places]
        found = list(digest_files(paths, cache=cache, tensors=False, git=False))
    return [
        (layer, shard)
        for (layer, shard), outcome in zip(places, found, strict=True)
        if isinstance(outcome, ReleaseKitError) or outcome.sha256 != store.sha256[layer][shard]
    ]


def _check(lm: LanguageModel, tokens: TokenBatches, layers: Sequence[int], dtype: str) -> None:
    if dtype not in DTYPES:
        raise ActivationError(f"the type {dtype!r} is not one of {sorted(DTYPES)}", where="activations")
    if not layers:
        raise ActivationError("no layer is asked for", where="activations")
    check_layers(lm, layers)
    check_ids(lm, tokens)


def _check_room(
    lm: LanguageModel, tokens: TokenBatches, layers: Sequence[int], dtype: str, folder: Path, key: str,
    max_bytes: int | None,
) -> None:  # fmt: skip
    """Refuse what does not fit before anything is calculated, and say what would."""
    of_token = lm.d_model * DTYPES[dtype][1]
    needed = tokens.n_tokens * of_token * len(layers)
    sets = stored(folder)
    others = sum(size for name, size in sets.items() if name != key)
    bounds = [("max_bytes leaves", max_bytes - others, ActivationError)] if max_bytes is not None else []
    bounds.append(("the disk has", shutil.disk_usage(folder).free + sets.get(key, 0), NoRoomError))
    for name, room, kind in bounds:
        if needed <= room:
            continue
        room = max(room, 0)
        fits = [f"{room // (of_token * len(layers)):,} tokens at {counted(len(layers), 'layer')}",
                f"{counted(room // (of_token * tokens.n_tokens), 'layer')} of all tokens"]  # fmt: skip
        fits += ["half of it as bfloat16"] if dtype == "float32" else []
        other_sets = f"; other sets take {others:,} bytes" if others else ""
        what = f"{counted(tokens.n_tokens, 'token')} at {counted(len(layers), 'layer')} need {needed:,} bytes"
        step = f"it holds {', or '.join(fits)}; take less, remove other sets, or stream without a store"
        raise kind(f"{what}, {name} {room:,}{other_sets}", where=str(folder), next_step=step)


def _identity(
    lm: LanguageModel, tokens: TokenBatches, layers: Sequence[int], dtype: str, seed: int, batch_tokens: int,
    shard_bytes: int,
) -> dict[str, Any]:  # fmt: skip
    """Return everything that decides values or their order, as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": lm.digest,
        "model_dtype": str(lm.model.dtype),
        "device": lm.device.type,
        "tokens": tokens.digest(),
        "layers": list(layers),
        "dtype": dtype,
        "hook": HOOK_VERSION,
        "seed": seed,
        "batch_tokens": batch_tokens,
        "shard_bytes": shard_bytes,
        "libraries": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
