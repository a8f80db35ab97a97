"""Rows of tokens that a language model is trained on, and which of them each step sees.

Both are pure functions of pairs, tokenizer and recipe, so that a training that goes on sees the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.documents import training_documents
from release_kit.sae.prepare.pairs import Pair
from release_kit.sae.prepare.recipes import LmRecipe


def training_rows(recipe: LmRecipe, train: Sequence[Pair], tokenizer: Any) -> npt.NDArray[np.int32]:
    """Return (n_rows, context) ids: documents one after the other, each row from the start of one.

    A document is its start token, its pieces and its end token. What the end of a row cuts off is lost.

    Raises:
        SaeError: there is not enough text for one row.
    """
    documents = training_documents(train, recipe.seed)
    pieces = tokenizer(documents, add_special_tokens=False, verbose=False)["input_ids"]
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    stream = np.concatenate([np.asarray([start, *piece, end], np.int32) for piece in pieces])
    begins = np.flatnonzero(stream == start)
    rows, at = [], 0
    while at + recipe.context <= len(stream):
        rows.append(stream[at : at + recipe.context])
        following = np.searchsorted(begins, at + recipe.context)
        if following == len(begins):
            break
        at = int(begins[following])
    if not rows:
        raise SaeError("there is too little text for one row", where="pairs to train on", next_step="give more pairs")
    return np.stack(rows)


def dev_rows(dev: Sequence[Pair], tokenizer: Any) -> dict[str, list[list[int]]]:
    """Return language → ids of its sentences with start and end token."""
    rows = {}
    for language in ("en", "ja"):
        pieces = tokenizer([getattr(pair, language) for pair in dev], add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        rows[language] = [[tokenizer.bos_token_id, *piece, tokenizer.eos_token_id] for piece in pieces]
    return rows


def rows_of_step(rows: npt.NDArray[np.int32], recipe: LmRecipe, step: int) -> npt.NDArray[np.int64]:
    """Return (batch_rows, context) ids of one step: rows without replacement, in a new order for each pass."""
    n, size = len(rows), recipe.batch_rows
    places = np.arange(step * size, (step + 1) * size)
    parts = []
    for turn in range(int(places[0]) // n, int(places[-1]) // n + 1):
        order = np.random.default_rng([recipe.seed, 2, turn]).permutation(n)
        parts.append(rows[order[places[places // n == turn] % n]])
    return np.concatenate(parts).astype(np.int64)
