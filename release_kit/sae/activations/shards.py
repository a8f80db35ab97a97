"""Files of a store: which token lies in which shard, a shard as safetensors that grows, its digest.

A shard holds a random share of all tokens (``Plan``), in the order in which the model met them. Reading a shard whole
and shuffling it in memory therefore gives truly shuffled tokens; every byte is written once and read once a pass.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.core.files import TEMPORARY_PREFIX
from release_kit.sae.activations.order import draw
from release_kit.sae.activations.tokens import TokenBatches
from release_kit.sae.errors import ActivationError

if TYPE_CHECKING:
    import torch

DTYPES = {"bfloat16": ("BF16", 2), "float32": ("F32", 4)}
"""Type of stored values → its name in safetensors and its bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Where every token goes.

    Attributes:
        shard: (n_tokens,) int32, by the number of the token.
        order: (n_tokens,) int64, numbers of tokens: those of shard 0 as they arrive, then those of shard 1, and so on.
        starts: (n_shards + 1,) int64, where each shard begins in ``order``.
    """

    shard: npt.NDArray[np.int32]
    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return len(self.starts) - 1

    def size(self, shard: int) -> int:
        """Return the number of tokens of a shard."""
        return int(self.starts[shard + 1] - self.starts[shard])

    def tokens_of(self, shard: int) -> npt.NDArray[np.int64]:
        """Return the numbers of the tokens of a shard, in the order of its rows."""
        return self.order[self.starts[shard] : self.starts[shard + 1]]


def plan_shards(tokens: TokenBatches, rows_of_shard: int, seed: int) -> Plan:
    """Return a random share of all tokens for each shard, as equal in size as can be.

    Args:
        tokens: what goes through the model, long rows first.
        rows_of_shard: most tokens of a shard.
        seed: decides the shares.
    """
    n, n_shards = tokens.n_tokens, max(1, -(-tokens.n_tokens // rows_of_shard))
    starts = np.linspace(0, n, n_shards + 1).astype(np.int64)
    shard = np.empty(n, np.int32)
    shard[draw(seed, "shards").permutation(n)] = np.repeat(np.arange(n_shards, dtype=np.int32), np.diff(starts))
    rows = tokens.rows_by_length()
    lengths = tokens.row_lengths()[rows]
    before = np.cumsum(lengths) - lengths
    arriving = np.arange(n) + np.repeat(tokens.row_starts[rows] - before, lengths)
    order = arriving[np.argsort(shard[arriving], kind="stable")]
    return Plan(shard=shard, order=order, starts=starts)


def shard_path(home: Path, layer: int, shard: int) -> Path:
    """Return where a finished shard lies."""
    return home / f"layer-{layer:02d}" / f"shard-{shard:04d}.safetensors"


def part_path(home: Path, layer: int, shard: int) -> Path:
    """Return where a shard grows."""
    final = shard_path(home, layer, shard)
    return final.with_name(f"{TEMPORARY_PREFIX}{final.name}")


def header(n_rows: int, width: int, dtype: str) -> bytes:
    """Return the head of a shard: one tensor ``x`` of shape (n_rows, width)."""
    name, size = DTYPES[dtype]
    entry = {"x": {"dtype": name, "shape": [n_rows, width], "data_offsets": [0, n_rows * width * size]}}
    text = json.dumps(entry, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def as_bytes(x: "torch.Tensor", dtype: str) -> npt.NDArray[np.uint8]:
    """Return (n, row bytes) of values rounded to ``dtype``."""
    import torch

    rounded = x.to(getattr(torch, dtype)).contiguous()
    return rounded.view(torch.uint8).numpy().reshape(len(x), -1)


def append(path: Path, head: bytes, data: bytes) -> None:
    """Add rows to a growing shard, durably; its head comes first where there is no file yet."""
    with open(path, "ab") as stream:
        if stream.tell() == 0:
            stream.write(head)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def read_shard(path: Path, sha256: str, width: int, dtype: str) -> "torch.Tensor":
    """Return the values of a shard, (n, width) in the stored type, after holding its bytes against its digest.

    Raises:
        ActivationError: the shard is missing or damaged.
    """
    import torch

    data = bytearray()
    try:
        with open(path, "rb") as stream:
            data = bytearray(path.stat().st_size)
            stream.readinto(data)
        found = hashlib.sha256(data).hexdigest()
    except OSError as error:
        found = f"no file ({error.strerror})"
    if found != sha256:
        step = "collect the same activations again: only this shard is made"
        raise ActivationError(f"the shard is damaged: expected {sha256[:12]}, got {found[:40]}", where=str(path),
                              next_step=step)  # fmt: skip
    offset = 8 + int.from_bytes(data[:8], "little")
    return torch.frombuffer(data, dtype=getattr(torch, dtype), offset=offset).view(-1, width)
