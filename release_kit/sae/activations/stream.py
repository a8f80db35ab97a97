"""The batches of a store without a disk: activations are calculated when their turn comes.

Rows come in a new random order in each pass, in chunks of about ``chunk_tokens``; the tokens of a chunk are shuffled
together. So tokens of one row share a chunk: less mixed than a store, whose shards mix all tokens. A chunk is a pure
function of seed and pass, so that going on at any batch costs at most one chunk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.order import Rows, draw, inner_order, iter_batches
from release_kit.sae.activations.take import check_ids, take
from release_kit.sae.activations.tokens import TokenBatches
from release_kit.sae.errors import ActivationError
from release_kit.sae.models.hooks import check_layers
from release_kit.sae.models.load import LanguageModel

if TYPE_CHECKING:
    import torch

CHUNK_TOKENS = 2**17


@dataclass(frozen=True, kw_only=True, eq=False)
class ActivationStream:
    """Activations of texts, calculated as they are asked for.

    Attributes:
        lm: the model.
        tokens: of all texts.
        layers: that can be asked for.
        chunk_tokens: tokens that are shuffled together.
        batch_tokens: places of a forward pass, padding counted.
    """

    lm: LanguageModel
    tokens: TokenBatches
    layers: tuple[int, ...]
    chunk_tokens: int = CHUNK_TOKENS
    batch_tokens: int = 8192

    def __post_init__(self) -> None:
        check_layers(self.lm, self.layers)
        check_ids(self.lm, self.tokens)

    @property
    def n_tokens(self) -> int:
        """Tokens, the same for all layers."""
        return self.tokens.n_tokens

    @property
    def d_model(self) -> int:
        """Width."""
        return self.lm.d_model

    def batches(
        self, layer: int, batch_rows: int, seed: int, start: int = 0, passes: int | None = 1
    ) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
        """Yield ``(x (n, d_model) float32, numbers of tokens (n,))``; arguments as ``ActivationStore.batches``."""
        for rows, index in self.joint([layer], batch_rows, seed, start, passes):
            yield rows[layer], index

    def joint(
        self, layers: Sequence[int], batch_rows: int, seed: int, start: int = 0, passes: int | None = 1
    ) -> Iterator[Rows]:
        """Yield ``(layer → x, numbers of tokens)``: several layers from one forward pass.

        Raises:
            ActivationError: there is no such layer, or an activation is no number.
        """
        if absent := [layer for layer in layers if layer not in self.layers]:
            what = f"there is no layer {absent[0]}; there are {list(self.layers)}"
            raise ActivationError(what, where=self.lm.label())
        return iter_batches(_Forward(stream=self, layers=tuple(layers), seed=seed), batch_rows, start, passes)


@dataclass(frozen=True, kw_only=True)
class _Forward:
    """Chunks of rows in a drawn order, each through the model when it is loaded."""

    stream: ActivationStream
    layers: tuple[int, ...]
    seed: int

    def sizes(self, turn: int) -> list[int]:
        lengths = self.stream.tokens.row_lengths()
        return [int(lengths[rows].sum()) for rows in self._chunks(turn)]

    def load(self, turn: int, place: int) -> Rows:
        import torch

        stream, rows = self.stream, self._chunks(turn)[place]
        by_length = rows[np.argsort(-stream.tokens.row_lengths()[rows], kind="stable")]
        taken = [
            (take(stream.lm, stream.tokens, batch, self.layers), batch.index[batch.kept()])
            for batch in stream.tokens.batches(stream.batch_tokens, by_length)
        ]
        index = torch.cat([part for _, part in taken])
        inner = torch.from_numpy(inner_order(len(index), self.seed, turn, place))
        return {layer: torch.cat([x[layer] for x, _ in taken])[inner].float() for layer in self.layers}, index[inner]

    def _chunks(self, turn: int) -> list[npt.NDArray[np.int64]]:
        """Return rows of each chunk: a drawn order of all, cut where the tokens so far pass a multiple of the size."""
        tokens = self.stream.tokens
        rows = draw(self.seed, "rows", turn).permutation(tokens.n_rows)
        ends = np.cumsum(tokens.row_lengths()[rows])
        chunk = (ends - 1) // self.stream.chunk_tokens
        return np.split(rows, np.flatnonzero(np.diff(chunk)) + 1)
