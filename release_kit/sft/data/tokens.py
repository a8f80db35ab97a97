"""Rows → token ids with a loss mask: special tokens, truncation, and a name for everything that goes wrong.

``loss[i]`` says that token ``i`` is a target: the model is trained to predict it from the tokens before it. An answer
has the tokens that follow those of its prompt, because that is how a model meets them when it is asked. Counting and
refusing whole runs is ``audit.py``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from release_kit.sft.data.columns import Row
from release_kit.sft.data.errors import DataError, combined, places_text
from release_kit.sft.data.templates import Segment, Template, answers, template_of
from release_kit.sft.spec.settings import TrainingSettings

ALL_TOKENS = "all"
CUT_PROMPT, CUT_COMPLETION, REFUSE = "prompt", "completion", "refuse"

TOO_LONG = "too-long"
EMPTY = "empty-completion"
VANISHED = "completion-vanishes"
MASKED = "all-masked"
UNRENDERED = "template-fails"
FAULTS = {
    TOO_LONG: "longer than max_length",
    EMPTY: "the completion is empty",
    VANISHED: "truncation leaves nothing of the completion, or a part of it where only the prompt may be cut",
    MASKED: "no token is trained on",
    UNRENDERED: "the template cannot show it",
}
"""What keeps an example from being trained on → the words for it."""
NEXT_STEPS = {
    TOO_LONG: "raise settings.training.max_length, or set truncation to prompt or completion",
    EMPTY: "remove these examples",
    VANISHED: "raise settings.training.max_length, or remove these examples",
    MASKED: "look at the template and at loss_on",
    UNRENDERED: "mend these examples, or take another template",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenExample:
    """One example as the model sees it."""

    ids: np.ndarray
    """``(n_tokens,) int32``."""
    loss: np.ndarray
    """``(n_tokens,) bool``: token i is a target that is trained on; never position 0, which nothing precedes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One row tokenised, with what truncation did to it."""

    example: TokenExample | None = None
    """None where ``fault`` is given."""
    n_tokens_before: int = 0
    """Tokens before truncation."""
    n_prompt: int = 0
    """Tokens before the first answer, special ones included, after truncation."""
    n_cut_prompt: int = 0
    """Tokens taken from the left of the prompt."""
    n_cut_right: int = 0
    """Tokens taken from the right end."""
    n_answer_lost: int = 0
    """Tokens of answers among those."""
    boundary_differs: bool = False
    """Tokens of the text in one piece reach over the end of a segment."""
    fault: str | None = None
    """Key of ``FAULTS``."""
    detail: str = ""
    """What the template said, or how long the example is."""


def tokenize(rows: Sequence[Row], tokenizer: Any, settings: TrainingSettings) -> list[TokenExample]:
    """Return the tokens of every row, in order, at most ``max_length`` each and each with at least one target.

    Raises:
        DataError: a row cannot be trained on as the settings say; all of them at once.
    """
    encoded = list(encode(rows, tokenizer, settings))
    faulty: dict[str, list[int]] = {}
    for index, item in enumerate(encoded):
        if item.fault:
            faulty.setdefault(item.fault, []).append(index)
    if faulty:
        raise combined([fault_error(fault, found, encoded) for fault, found in faulty.items()], "training data")
    return [item.example for item in encoded if item.example is not None]


def fault_error(
    fault: str, indexes: Sequence[int], encoded: Sequence[Encoded], places: Sequence[str] | None = None
) -> DataError:
    """Return one error for all examples that have ``fault``."""
    shown = places_text([places[index] if places else f"example {index}" for index in indexes])
    detail = encoded[indexes[0]].detail
    what = f"{FAULTS[fault]}: {shown}" + (f" (the first: {detail})" if detail else "")
    return DataError(what, where=f"{len(indexes):,} of {len(encoded):,} examples", next_step=NEXT_STEPS[fault])


def encode(rows: Sequence[Row], tokenizer: Any, settings: TrainingSettings) -> Iterator[Encoded]:
    """Yield every row tokenised; a row that cannot be trained on has a ``fault`` instead of tokens.

    Args:
        rows: examples in normal form.
        tokenizer: of the base model.
        settings: ``template``, ``truncation``, ``max_length`` and ``loss_on`` are used.

    Raises:
        DataError: the template is none, or the tokenizer has no end-of-text token to close answers with.
    """
    template = template_of(settings.template, tokenizer)
    special = special_tokens(tokenizer, template)
    rendered = [_rendered(template, row) for row in rows]
    sound = [[s.text for s in item] for item in rendered if not isinstance(item, DataError)]
    apart = iter(token_ids(tokenizer, [text for texts in sound for text in texts]))
    whole = iter(token_ids(tokenizer, ["".join(texts) for texts in sound]))
    for row, item in zip(rows, rendered, strict=True):
        if isinstance(item, DataError):
            yield Encoded(fault=UNRENDERED, detail=item.sentence())
            continue
        pieces, joined = [next(apart) for _ in item], next(whole)
        merges = [token for piece in pieces for token in piece] != joined
        if merges:
            pieces, merges = _pieces(tokenizer, [segment.text for segment in item], joined, pieces)
        yield replace(_encoded(row, item, pieces, special, settings), boundary_differs=merges)


def _pieces(
    tokenizer: Any, texts: Sequence[str], joined: list[int], apart: list[list[int]]
) -> tuple[list[list[int]], bool]:
    """Return the tokens of segments whose tokens apart are not those of the whole text, and whether they still differ.

    Some tokenizers put a blank before every text that they are given. Where the whole text begins with the tokens of
    what stands before an answer, the rest are the answer's; where tokens reach over the boundary, the segments keep
    the tokens that they have apart, as when a model is asked.
    """
    before = token_ids(tokenizer, ["".join(texts[:n]) for n in range(1, len(texts))])
    ends = [0, *map(len, before), len(joined)]
    if all(joined[: len(ids)] == ids for ids in before) and ends == sorted(ends):
        return [joined[start:end] for start, end in pairwise(ends)], False
    return apart, True


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """What is put around an example beside its text."""

    bos: tuple[int, ...]
    eos: tuple[int, ...]


def special_tokens(tokenizer: Any, template: Template) -> SpecialTokens:
    """Return the tokens that open and close an example.

    An example opens with what the tokenizer itself puts before a text (nothing, for most), unless the template holds
    it; it closes with the end-of-text token, unless the template has an end mark of its own.

    Raises:
        DataError: there is no end-of-text token, so that a model would never learn to stop.
    """
    opened, bare = (tokenizer(["a"], add_special_tokens=flag)["input_ids"][0] for flag in (True, False))
    bos = tuple(opened[: opened.index(bare[0])]) if bare and bare[0] in opened else ()
    if template.closes:
        return SpecialTokens(bos=() if template.opens else bos, eos=())
    if tokenizer.eos_token_id is None:
        raise DataError(
            "has no end-of-text token: a model would never learn to stop", where="the base model's tokenizer"
        )
    return SpecialTokens(bos=() if template.opens else bos, eos=(int(tokenizer.eos_token_id),))


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of every text, without special tokens that the text does not hold."""
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []


def pad_id(tokenizer: Any) -> int:
    """Return the id that fills rows up: the padding token, or any other one, since padding carries no loss."""
    return next((int(i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def _rendered(template: Template, row: Row) -> tuple[Segment, ...] | DataError:
    try:
        return template.render(row)
    except DataError as problem:
        return problem


def _encoded(
    row: Row, segments: Sequence[Segment], ids: Sequence[list[int]], special: SpecialTokens, settings: TrainingSettings
) -> Encoded:
    pieces = [(special.bos, False), *((ids_of, s.trained) for ids_of, s in zip(ids, segments, strict=True))]
    pieces.append((special.eos, True))
    tokens = np.concatenate([np.asarray(piece, dtype=np.int32) for piece, _ in pieces])
    answer = np.concatenate([np.full(len(piece), trained, dtype=bool) for piece, trained in pieces])
    if not all(text.strip() for text in answers(row)):
        return Encoded(n_tokens_before=len(tokens), fault=EMPTY)
    first = len(special.bos)
    left, right, fault = _cut(answer, first, settings)
    kept = np.r_[0:first, first + left : len(tokens) - right]
    loss = np.ones(len(kept), dtype=bool) if settings.loss_on == ALL_TOKENS else answer[kept]
    loss[:1] = False
    if fault is None and not (loss & answer[kept]).any():
        fault = VANISHED if right else MASKED
    return Encoded(
        example=None if fault else TokenExample(ids=tokens[kept], loss=loss),
        n_tokens_before=len(tokens),
        n_prompt=int(answer[kept].argmax()),
        n_cut_prompt=left,
        n_cut_right=right,
        n_answer_lost=int(answer.sum() - answer[kept].sum()),
        fault=fault,
        detail=f"{len(tokens):,} tokens, max_length {settings.max_length:,}" if fault in (TOO_LONG, VANISHED) else "",
    )


def _cut(answer: np.ndarray, first: int, settings: TrainingSettings) -> tuple[int, int, str | None]:
    """Return (tokens to take from the left of the prompt, from the right, fault).

    The prompt that may be cut are the tokens between the opening ones and the first answer; at least one token must
    stay before the answer.
    """
    excess = len(answer) - settings.max_length
    if excess <= 0:
        return 0, 0, None
    if settings.truncation == REFUSE:
        return 0, 0, TOO_LONG
    if settings.truncation == CUT_COMPLETION:
        return 0, excess, None
    n_prompt = int(answer.argmax()) - first
    spare = n_prompt if first else n_prompt - 1
    return (excess, 0, None) if excess <= spare else (0, 0, VANISHED)


def target_spans(loss: np.ndarray) -> list[tuple[int, int]]:
    """Return ``[start, end)`` of every run of targets in ``loss``."""
    edges = np.flatnonzero(np.diff(np.r_[False, loss, False]))
    return [(int(a), int(b)) for a, b in list(pairwise(edges))[::2]]
