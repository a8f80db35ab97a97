"""Texts as rows of tokens that a model reads, with language, document and position of every token.

Owns cutting long texts into rows, and batches of rows of about equal length. A token is counted once, over all rows
in their order: this number is its name everywhere else (stores, streams, counts). The start token of each row and
padding are no tokens in this sense and never become activations.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.core import canonical
from release_kit.sae.errors import SaeError

if TYPE_CHECKING:
    import torch

LANGUAGES = ("", "en", "ja")
"""Names of the codes in ``TokenBatches.language``."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A document, or one side of a pair."""

    id: str
    language: str
    """``en``, ``ja``, or empty where it is neither or both."""
    text: str
    pair: str | None = None
    """Id of the pair that it is a side of."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows that go through a model together; places without a token have the index -1.

    Attributes:
        input_ids: (b, t) int64, start token first where the tokenizer has one, padded on the right.
        mask: (b, t) int64, 1 for the start token and tokens, 0 for padding.
        index: (b, t) int64, the number of each token.
    """

    input_ids: "torch.Tensor"
    mask: "torch.Tensor"
    index: "torch.Tensor"

    def kept(self) -> "torch.Tensor":
        """Return (b, t) bool, True where an activation is taken."""
        return self.index >= 0


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatches:
    """Tokens of all texts, in the order of texts and rows; arrays over tokens have the length ``n_tokens``.

    Attributes:
        ids: (n_tokens,) int32.
        language: (n_tokens,) int8, a place in ``LANGUAGES``.
        document: (n_tokens,) int32, a place in ``texts``.
        position: (n_tokens,) int32, of the token in its document.
        row_starts: (n_rows + 1,) int64; row r has the tokens ``row_starts[r]`` to ``row_starts[r + 1]``.
        texts: what was tokenised.
        bos: id that every row begins with, None where the tokenizer has none.
        pad: id that fills rows up.
        context: most tokens of a row, the start token counted.
    """

    ids: npt.NDArray[np.int32]
    language: npt.NDArray[np.int8]
    document: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    row_starts: npt.NDArray[np.int64]
    texts: tuple[Text, ...]
    bos: int | None
    pad: int
    context: int

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows, start tokens not counted."""
        return len(self.ids)

    @property
    def n_rows(self) -> int:
        """Rows of all texts."""
        return len(self.row_starts) - 1

    def n_by_language(self) -> dict[str, int]:
        """Return language → number of its tokens, those without a language under the empty name."""
        counts = np.bincount(self.language, minlength=len(LANGUAGES))
        return {name: int(counts[code]) for code, name in enumerate(LANGUAGES)}

    def row_lengths(self) -> npt.NDArray[np.int64]:
        """Return (n_rows,) tokens of each row."""
        return np.diff(self.row_starts)

    def rows_by_length(self) -> npt.NDArray[np.int64]:
        """Return the numbers of all rows, long ones first, equal ones in their order."""
        return np.argsort(-self.row_lengths(), kind="stable")

    def batches(self, n_tokens: int = 8192, rows: npt.ArrayLike | None = None) -> Iterator[Batch]:
        """Yield rows in batches of at most ``n_tokens`` places, padding counted, but of one row at least.

        Args:
            n_tokens: places of a batch; it decides memory, and values only by rounding.
            rows: which rows, in which order; all, long ones first, if None. Rows of like length should stand together.
        """
        order = self.rows_by_length() if rows is None else np.asarray(rows, np.int64)
        lengths = self.row_lengths() + (self.bos is not None)
        start = 0
        while start < len(order):
            stop, longest = start, 0
            while stop < len(order):
                longest = max(longest, int(lengths[order[stop]]))
                if stop > start and longest * (stop + 1 - start) > n_tokens:
                    break
                stop += 1
            yield self.batch(order[start:stop])
            start = stop

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Return the given rows as one batch."""
        import torch

        shift = int(self.bos is not None)
        lengths = self.row_lengths()[rows]
        shape = (len(rows), int(lengths.max(initial=0)) + shift)
        places = np.arange(shape[1])[None, :] - shift
        index = np.where((places >= 0) & (places < lengths[:, None]), self.row_starts[rows][:, None] + places, -1)
        ids = np.where(index >= 0, self.ids[index], self.pad).astype(np.int64)
        if self.bos is not None:
            ids[:, 0] = self.bos
        mask = (places < lengths[:, None]).astype(np.int64)
        return Batch(input_ids=torch.from_numpy(ids), mask=torch.from_numpy(mask), index=torch.from_numpy(index))

    def digest(self) -> str:
        """Return the sha256 of what a model sees and how it is labelled: ids, rows, languages, documents."""
        total = hashlib.sha256(canonical.canonical_bytes([self.bos, self.pad, self.context, len(self.texts)]))
        for array in (self.ids, self.row_starts, self.language, self.document):
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


def tokenise(texts: Sequence[Text], tokenizer: Any, context: int) -> TokenBatches:
    """Return the tokens of texts in rows of at most ``context``.

    A text that is longer goes on in the next row, which begins with the start token again. Texts are tokenised without
    special tokens; a text without a token has no row.

    Args:
        texts: each id once.
        tokenizer: of transformers.
        context: most tokens of a row, the start token counted.

    Raises:
        SaeError: there is no token, an id stands twice, a language is unknown, or ``context`` is too short.
    """
    _check(texts, context)
    bos = tokenizer.bos_token_id
    width = context - (bos is not None)
    pieces = tokenizer([text.text for text in texts], add_special_tokens=False, verbose=False)["input_ids"]
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    n_tokens = int(lengths.sum())
    if not n_tokens:
        raise SaeError("no text has a token", where="texts", next_step="give texts that are not empty")
    document = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    position = np.arange(n_tokens) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    codes = np.array([LANGUAGES.index(text.language) for text in texts], np.int8)
    starts = np.flatnonzero(position % width == 0)
    pad = next(one for one in (tokenizer.pad_token_id, tokenizer.eos_token_id, bos, 0) if one is not None)
    return TokenBatches(
        ids=np.concatenate([np.asarray(piece, np.int32) for piece in pieces]), language=codes[document],
        document=document, position=position.astype(np.int32),
        row_starts=np.append(starts, n_tokens).astype(np.int64), texts=tuple(texts), bos=bos, pad=pad, context=context,
    )  # fmt: skip


def require_languages(texts: Sequence[Text], languages: Sequence[str] = ("en", "ja")) -> None:
    """Refuse texts in which one of the languages does not occur.

    Raises:
        SaeError: with the languages that do.
    """
    there = sorted({text.language for text in texts if text.text.strip()} - {""})
    for language in languages:
        if language not in there:
            what = f"there is no text in {language!r}; there are texts in {there}"
            raise SaeError(what, where="texts", next_step="the language of a feature needs texts in both")


def _check(texts: Sequence[Text], context: int) -> None:
    seen: set[str] = set()
    for text in texts:
        if text.id in seen:
            raise SaeError(f"the id {text.id!r} stands twice", where="texts", next_step="give each text its own id")
        seen.add(text.id)
        if text.language not in LANGUAGES:
            what = f"the language {text.language!r} is none of {LANGUAGES}"
            raise SaeError(what, where=f"text {text.id}", next_step="use en, ja, or nothing")
    if context < 2:
        raise SaeError(f"a context of {context} holds no token after the start token", where="context")
