"""What the targets of an example spell: the answers and their end marks, and nothing else.

Decodes the targets and compares them with the data, so that a mask which holds the prompt, a header of the template or
half of an answer is found whatever made it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from release_kit.sft.data.columns import Row
from release_kit.sft.data.errors import DataError, combined, places_text
from release_kit.sft.data.templates import answer_tail, answers
from release_kit.sft.data.tokens import CUT_COMPLETION, TokenExample, target_spans, token_ids
from release_kit.sft.spec.settings import TrainingSettings


def check_trained_text(
    rows: Sequence[Row], examples: Sequence[TokenExample], tokenizer: Any, settings: TrainingSettings
) -> None:
    """Refuse examples whose targets spell something else than the row's answers; for ``loss_on: completion``.

    Raises:
        DataError: with what is trained on and what was expected.
    """
    places = [f"example {index}" for index in range(len(rows))]
    if problems := list(other_text(rows, examples, tokenizer, settings, places)):
        raise combined(problems, "loss masks")


def other_text(
    rows: Sequence[Row],
    examples: Sequence[TokenExample | None],
    tokenizer: Any,
    settings: TrainingSettings,
    places: Sequence[str],
) -> Iterator[DataError]:
    """Yield one problem for all examples whose targets are not the answers; None among the examples is passed over."""
    tail = answer_tail(settings.template)
    cut = settings.truncation == CUT_COMPLETION
    wrong: list[tuple[int, str, str]] = []
    for index, (row, example) in enumerate(zip(rows, examples, strict=True)):
        if example is None:
            continue
        expected = "".join(_spelled(tokenizer, ids) for ids in token_ids(tokenizer, [a + tail for a in answers(row)]))
        spans = target_spans(example.loss)
        got = "".join(_spelled(tokenizer, example.ids[start:end].tolist()) for start, end in spans)
        readings = {got}
        if example.loss[1:2].any():
            # With an empty prompt and no opening token the first token of an answer has nothing to be predicted from.
            readings.add(_spelled(tokenizer, example.ids[:1].tolist()) + got)
        was_cut = cut and len(example.ids) == settings.max_length
        if not any(text == expected or (was_cut and expected.startswith(text)) for text in readings):
            wrong.append((index, got, expected))
    if wrong:
        _, got, expected = wrong[0]
        what = f"the loss is not on the answers: {places_text([places[index] for index, _, _ in wrong])}"
        yield DataError(
            f"{what}; the first trains on {got[:60]!r}, expected {expected[:60]!r}",
            where=f"{len(wrong):,} of {len(rows):,} examples",
        )


def _spelled(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of some tokens without special ones and white space, which templates add and strip."""
    return "".join(tokenizer.decode(list(ids), skip_special_tokens=True).split())
