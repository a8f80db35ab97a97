"""What is computed and where it goes: equal inputs once, each with the bins and annotators that it stands for.

Pure: texts (or bins of a medium) → items and cells. Encoders (``latents.py``, ``words.py``, ``media.py``) compute
items; ``assemble.py`` puts their vectors into cells.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts

MEAN = "mean"
"""Name of the one slot that all annotators share."""


class Item(NamedTuple):
    """One input of a model. ``bin`` is -1 for a text alone, else the bin whose frames or sound are read."""

    text: str
    context: str = ""
    bin: int = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """The different items of one stimulus and where each belongs.

    Attributes:
        slots: names of the results: ``mean``, or one for each annotator.
        items: different inputs, in the order in which they first come.
        item: (n_cells,) int64, the item of each cell.
        slot: (n_cells,) int64, the result that a cell is added to.
        bin: (n_cells,) int64, and its bin.
    """

    slots: tuple[str, ...]
    items: tuple[Item, ...]
    item: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    bin: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Items that are ready to be computed.

    Attributes:
        usable: (n_items,) bool, False where nothing can be computed (no token, no known word, no frame).
        counts: what was found while preparing (tokens, truncated texts, unknown words).
        inputs: what the encoder needs, one for each item.
    """

    usable: npt.NDArray[np.bool_]
    counts: Mapping[str, int]
    inputs: Sequence = field(repr=False)


class Encoder(Protocol):
    """What makes vectors of items."""

    layers: tuple[int, ...]

    def widths(self) -> tuple[int, ...]:
        """Return the number of features of each layer."""
        ...

    def prepare(self, binned: BinnedTexts, items: Sequence[Item]) -> Prepared:
        """Return what is computed, and what cannot be."""
        ...

    def vectors(self, prepared: Prepared) -> Iterator[tuple[npt.NDArray[np.int64], list[FloatArray]]]:
        """Yield places of usable items, and for each layer their vectors ``(n, width)``."""
        ...


def plan_items(spec: FeatureSpec, binned: BinnedTexts) -> Work:
    """Return the work of one stimulus: for a medium one item a bin, else one for each different text and context."""
    known: dict[Item, int] = {}
    cells: list[tuple[int, int, int]] = []
    each = spec.annotators == "each" and bool(binned.annotators)
    for annotator, k, item in _cells(spec, binned):
        cells.append((known.setdefault(item, len(known)), annotator if each else 0, k))
    table = np.array(cells, np.int64).reshape(-1, 3)
    return Work(
        slots=binned.annotators if each else (MEAN,),
        items=tuple(known),
        item=table[:, 0],
        slot=table[:, 1],
        bin=table[:, 2],
    )


def _cells(spec: FeatureSpec, binned: BinnedTexts) -> Iterator[tuple[int, int, Item]]:
    if not spec.reads_text:
        yield from ((0, k, Item("", bin=k)) for k in range(binned.n_bins))
        return
    contexts = binned.contexts(spec.context_s)
    with_media = spec.media is not None
    for annotator, texts in enumerate(binned.texts):
        for k, text in enumerate(texts):
            if text is not None:
                yield annotator, k, Item(text, contexts[annotator][k], k if with_media else -1)
