"""Rows → the text that a model sees, cut into segments that are trained on and segments that are not.

``plain``, ``paper``, ``chat`` (the tokenizer's own chat template) and templates of the user's. A template that drops a
part of the example is refused here. Knows texts only; tokens are ``tokens.py``.
"""

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from release_kit.sft.data.columns import Row
from release_kit.sft.data.errors import DataError

PLAIN, PAPER, CHAT = "plain", "paper", "chat"
PROMPT, COMPLETION = "{prompt}", "{completion}"
PAPER_TEXT = "###Question: {prompt}\n###Answer: {completion}"
"""The template of all models of arXiv 2506.14681."""
_WHERE = "settings.training.template"
TODAY = datetime.date(2024, 7, 26)
"""The day that chat templates which write the date are told: tokens must not depend on when a run is trained."""
_DATE = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<format>.*?)(?P=quote)\s*\)")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A piece of text that is tokenised on its own, as it is when a model is asked and then answers."""

    text: str
    trained: bool


class Template(Protocol):
    """What turns rows into segments."""

    closes: bool
    """The text marks the end of an answer itself; otherwise tokenising adds the end-of-text token."""
    opens: bool
    """The text holds its own beginning-of-text token; otherwise tokenising adds the one that the tokenizer uses."""

    def render(self, row: Row) -> tuple[Segment, ...]:
        """Return the segments of one row; trained ones hold the answers.

        Raises:
            DataError: the row does not fit the template, or the template drops a part of it.
        """


def template_of(name: str, tokenizer: Any) -> Template:
    """Return the template that ``settings.training.template`` names.

    Args:
        name: ``plain``, ``paper``, ``chat``, or a text that holds ``{prompt}`` and ``{completion}``.
        tokenizer: of the base model; used by ``chat`` only.

    Raises:
        DataError: an unknown name, a text that drops prompt or completion, a tokenizer without a chat template.
    """
    if name == CHAT:
        if not getattr(tokenizer, "chat_template", None):
            step = "take the template plain or paper, or a base model with a chat template"
            raise DataError(
                "is 'chat', but the base model's tokenizer has no chat template", where=_WHERE, next_step=step
            )
        return ChatTemplate(tokenizer)
    return TextTemplate({PLAIN: PROMPT + COMPLETION, PAPER: PAPER_TEXT}.get(name, name))


class TextTemplate:
    """Text around one prompt and one completion.

    Blanks of the template right before ``{completion}`` belong to the completion (``Answer: 42`` is ``Answer:`` and
    `` 42``), because that is how the two are tokenised when a model is asked; they are left out where the completion
    begins with white space itself.
    """

    closes = opens = False

    def __init__(self, text: str):
        for part in (PROMPT, COMPLETION):
            if text.count(part) != 1:
                known = f"{PLAIN!r}, {PAPER!r}, {CHAT!r}, or a text with {PROMPT} and {COMPLETION}"
                what = f"is {text!r}, which has {part} {text.count(part)} times; expected once"
                raise DataError(what, where=_WHERE, next_step=f"give {known}")
        if text.index(COMPLETION) < text.index(PROMPT):
            raise DataError(f"is {text!r}, where the completion stands before the prompt", where=_WHERE)
        head, self._after = text.split(COMPLETION)
        self._before, between = head.split(PROMPT)
        self._between = between.rstrip(" ")
        self._lead = between[len(self._between) :]

    def render(self, row: Row) -> tuple[Segment, ...]:
        """Return the prompt's segment and the completion's."""
        prompt, completion = prompt_and_completion(row)
        lead = "" if completion[:1].isspace() else self._lead
        return (
            Segment(text=f"{self._before}{prompt}{self._between}", trained=False),
            Segment(text=f"{lead}{completion}{self._after}", trained=True),
        )


class ChatTemplate:
    """The tokenizer's own chat template; every turn of the assistant is trained on, up to its end-of-turn mark.

    Needs no marks inside the template: the text before a turn (with the generation prompt) and the text up to its end
    are rendered, and each must be the beginning of the next one. A template that rewrites earlier turns (drops their
    reasoning, say) is refused: one sequence could not show each answer what the model sees when it is asked.
    """

    opens = True

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._template = _with_fixed_date(tokenizer.get_chat_template())
        self._special = [token for token in tokenizer.all_special_tokens if token]
        self.closes = self._has_end_mark()

    def render(self, row: Row) -> tuple[Segment, ...]:
        """Return segments of asked and answered text in turn."""
        messages = row.get("messages") or [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
        last = max(index for index, turn in enumerate(messages) if turn["role"] == "assistant")
        segments = list(self._segments(messages[: last + 1]))
        self._refuse_dropped(messages[: last + 1], segments)
        return tuple(segments)

    def _segments(self, messages: Sequence[dict[str, str]]) -> Iterator[Segment]:
        done = ""
        for index, turn in enumerate(messages):
            if turn["role"] != "assistant":
                continue
            asked = self._text(messages[:index], generate=True)
            answered = self._text(messages[: index + 1], generate=False)
            if not asked.startswith(done) or not answered.startswith(asked):
                what = f"does not keep the text before turn {index} ({turn['content'][:40]!r}) when that turn is added"
                step = "take the template plain or paper, or split conversations into single turns"
                raise DataError(f"the chat template {what}", next_step=step)
            end = self._end_of_turn(answered, len(asked) + len(turn["content"].strip()))
            yield Segment(text=asked[len(done) :], trained=False)
            yield Segment(text=answered[len(asked) : end], trained=True)
            done = answered[:end]

    def _end_of_turn(self, text: str, least: int) -> int:
        """Return where an answer ends: before the white space that a template puts behind the end mark."""
        stripped = text.rstrip()
        return max(len(stripped), least) if self.closes else len(text)

    def _text(self, messages: Sequence[dict[str, str]], *, generate: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self._tokenizer.apply_chat_template(
                list(messages), chat_template=self._template, tokenize=False, add_generation_prompt=generate
            )
        except TemplateError as error:
            raise DataError(f"the chat template refuses it ({error})") from error

    def _has_end_mark(self) -> bool:
        """Return whether a special token follows an answer; without one, tokenising adds the end-of-text token."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        return self._text(turns, generate=False).rstrip().endswith(tuple(self._special))

    def _refuse_dropped(self, messages: Sequence[dict[str, str]], segments: Sequence[Segment]) -> None:
        answers = [turn["content"] for turn in messages if turn["role"] == "assistant"]
        trained = [segment.text for segment in segments if segment.trained]
        if any(answer.strip() not in text for answer, text in zip(answers, trained, strict=True)):
            raise DataError("the chat template drops an answer of the assistant")
        whole = "".join(segment.text for segment in segments)
        for turn in messages:
            if turn["content"].strip() not in whole:
                raise DataError(f"the chat template drops the turn of {turn['role']} {turn['content'][:40]!r}")


def _with_fixed_date(template: str) -> str:
    """Return a chat template in which calls of ``strftime_now`` are the date of ``TODAY``.

    Raises:
        DataError: it asks for the date in a way that cannot be seen from its text.
    """
    fixed = _DATE.sub(lambda found: repr(TODAY.strftime(found["format"])), template)
    if "strftime_now(" in fixed:
        step = "take the template plain or paper, or write the date into the chat template"
        raise DataError("the chat template writes the date of the day it is used on", where=_WHERE, next_step=step)
    return fixed


def prompt_and_completion(row: Row) -> tuple[str, str]:
    """Return the prompt and the completion of a row; of a conversation, its only question and answer.

    Raises:
        DataError: a conversation of several turns, which only the template ``chat`` can show.
    """
    if "messages" not in row:
        return row["prompt"], row["completion"]
    roles = [turn["role"] for turn in row["messages"]]
    if roles != ["user", "assistant"]:
        what = f"has the turns {', '.join(roles)}; expected user, assistant for this template"
        raise DataError(what, next_step="take the template chat")
    question, answer = row["messages"]
    return question["content"], answer["content"]


def answers(row: Row) -> list[str]:
    """Return what the model is to learn to say: the completion, or every turn of the assistant."""
    if "messages" in row:
        return [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
    return [row["completion"]]


def answer_tail(name: str) -> str:
    """Return the text that a template puts behind an answer and trains on; of a chat template special tokens only."""
    return name.split(COMPLETION)[1] if COMPLETION in name else ""
