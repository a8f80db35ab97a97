"""Rows → token ids with a loss mask: special tokens, truncation, and a name for everything that goes wrong.

``loss[i]`` says that token ``i`` is a target: the model is trained to predict it from the tokens before it. Prompt and
answer are tokenised apart, because that is how a model meets them when it is asked. Counting and refusing whole runs
is ``audit.py``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from release_kit.sft.data.columns import Row
from release_kit.sft.data.errors import DataError, combined
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

    example: TokenExample | None
    """None where ``fault`` is given."""
    n_tokens_before: int
    """Tokens before truncation."""
    n_trained_before: int
    """Targets before truncation."""
    n_cut_prompt: int = 0
    """Tokens taken from the left."""
    n_cut_completion: int = 0
    """Tokens taken from the right."""
    fault: str | None = None
    """Key of ``FAULTS``."""
    detail: str = ""
    """What the template said."""


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
    shown = [places[index] if places else f"example {index}" for index in indexes[:3]]
    more = f" and {len(indexes) - 3:,} more" if len(indexes) > 3 else ""
    detail = encoded[indexes[0]].detail
    what = f"{FAULTS[fault]}: {'; '.join(shown)}{more}" + (f" ({detail})" if detail else "")
    return DataError(what, where=f"{len(indexes):,} of {len(encoded):,} examples", next_step=NEXT_STEPS[fault])


def encode(rows: Sequence[Row], tokenizer: Any, settings: TrainingSettings) -> Iterator[Encoded]:
    """Yield every row tokenised; a row that cannot be trained on has a ``fault`` instead of tokens.

    Raises:
        DataError: the template is none, or the tokenizer has no end-of-text token to close answers with.
    """
    template = template_of(settings.template, tokenizer)
    special = special_tokens(tokenizer, template)
    rendered = [_rendered(template, row) for row in rows]
    texts = [segment.text for item in rendered if not isinstance(item, DataError) for segment in item]
    ids = iter(token_ids(tokenizer, texts))
    for row, item in zip(rows, rendered, strict=True):
        if isinstance(item, DataError):
            yield Encoded(example=None, n_tokens_before=0, n_trained_before=0, fault=UNRENDERED, detail=item.sentence())
        else:
            yield _encoded(row, item, [next(ids) for _ in item], special, settings)


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
    before = {"n_tokens_before": len(tokens), "n_trained_before": int(answer[1:].sum())}
    if not all(text.strip() for text in answers(row)):
        return Encoded(example=None, fault=EMPTY, **before)
    first = len(special.bos)
    cut_left, cut_right, fault = _cut(answer, first, settings)
    kept = np.r_[0:first, first + cut_left : len(tokens) - cut_right]
    tokens, answer = tokens[kept], answer[kept]
    loss = np.ones_like(answer) if settings.loss_on == ALL_TOKENS else answer.copy()
    loss[:1] = False
    if fault is None and not (loss & answer).any():
        fault = VANISHED if cut_right else MASKED
    cuts = {"n_cut_prompt": cut_left, "n_cut_completion": cut_right}
    if fault:
        return Encoded(example=None, fault=fault, **before, **cuts)
    return Encoded(example=TokenExample(ids=tokens, loss=loss), **before, **cuts)


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


def answer_spans(loss: np.ndarray) -> list[tuple[int, int]]:
    """Return ``[start, end)`` of every run of targets in ``loss``."""
    edges = np.flatnonzero(np.diff(np.r_[False, loss, False]))
    return [(int(a), int(b)) for a, b in list(pairwise(edges))[::2]]
