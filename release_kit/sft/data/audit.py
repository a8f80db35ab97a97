"""The loss audit: what of every example is masked, cut or empty, before anything is trained.

Owns the report and the decision to refuse a run; how rows become tokens is ``tokens.py``. ``Audit.refuse`` is what the
engine calls; ``release-kit sft audit`` prints the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import open_atomic
from release_kit.sft.data.columns import Row
from release_kit.sft.data.errors import DataError, combined, places_text
from release_kit.sft.data.tokens import ALL_TOKENS, Encoded, TokenExample, encode, fault_error, target_spans
from release_kit.sft.data.trained_text import other_text
from release_kit.sft.spec.settings import TrainingSettings

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ExampleAudit:
    """What becomes of one example."""

    index: int
    place: str
    """``data/x.jsonl, line 3``, or the example's number."""
    n_tokens: int
    """Tokens that the model sees; 0 where the example cannot be trained on."""
    n_tokens_before: int
    """Tokens before truncation; 0 where the template cannot show the example."""
    n_prompt: int
    """Tokens before the first answer, special ones included."""
    n_trained: int
    """Targets."""
    n_cut_prompt: int
    """Tokens that truncation took from the left of the prompt."""
    n_cut_right: int
    """Tokens that truncation took from the right end."""
    n_answer_lost: int
    """Tokens of answers among those."""
    n_answers: int
    """Separate spans of targets: turns of the assistant in a conversation."""
    duplicate_of: int | None
    """The first example with the same text."""
    boundary_differs: bool
    """Tokens of the text in one piece reach over the end of the prompt or of an answer."""
    holds_special: bool
    """The data's own text holds a special token of the tokenizer, which ends or opens turns where it stands."""
    fault: str | None
    """Why it cannot be trained on: a key of ``tokens.FAULTS``; None for a sound example."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The audit of one run's data."""

    examples: tuple[ExampleAudit, ...]
    problems: tuple[ReleaseKitError, ...]
    """Why the run is refused; empty for a sound one."""
    warnings: tuple[ReleaseKitError, ...]
    """What people should know and may accept."""
    counts: Mapping[str, int]
    """n_examples, n_tokens, n_trained, n_cut_prompt …: sums, and numbers of examples that show something."""
    tokens: tuple[TokenExample, ...] = ()
    """What ``tokenize`` would return, for a sound run; so nothing needs to be tokenised twice."""

    @property
    def ok(self) -> bool:
        """Return whether the run may be trained."""
        return not self.problems

    def refuse(self, where: str = "training data") -> None:
        """Do nothing for a sound run.

        Raises:
            DataError: everything that is wrong.
        """
        if len(self.problems) == 1:
            only = self.problems[0]
            raise DataError(only.what, where=", ".join(filter(None, (where, only.where))), next_step=only.next_step)
        if self.problems:
            raise combined(self.problems, where)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form without the single examples."""
        return {
            "ok": self.ok,
            "counts": dict(self.counts),
            "problems": [problem.to_dict() for problem in self.problems],
            "warnings": [warning.to_dict() for warning in self.warnings],
        }


def audit(
    rows: Sequence[Row],
    tokenizer: Any,
    settings: TrainingSettings,
    *,
    places: Sequence[str] | None = None,
    context_length: int | None = None,
    vocab_size: int | None = None,
) -> Audit:
    """Return what of every example would be trained on, and why the run must be refused, if it must.

    Args:
        rows: the run's examples in normal form.
        tokenizer: of the base model.
        settings: of the run.
        places: file and line of each row, for messages.
        context_length: positions that the model has; None does not look.
        vocab_size: rows of the model's embedding; None does not look.
    """
    if not rows:
        return Audit(examples=(), problems=(DataError("there is no example to train on"),), warnings=(), counts={})
    try:
        encoded = list(encode(rows, tokenizer, settings))
    except DataError as problem:
        return Audit(examples=(), problems=(problem,), warnings=(), counts={"n_examples": len(rows)})
    places = places or [f"example {index}" for index in range(len(rows))]
    special, first = _with_special(rows, tokenizer), {}
    examples = tuple(
        _example(index, item, places[index], index in special, first.setdefault(_texts(row), index))
        for index, (row, item) in enumerate(zip(rows, encoded, strict=True))
    )
    limits = (settings.max_length, context_length, vocab_size)
    problems = [*_faults(encoded, places), *_beyond_model(encoded, places, limits)]
    if settings.loss_on != ALL_TOKENS:
        problems += other_text(rows, [item.example for item in encoded], tokenizer, settings, places)
    return Audit(
        examples=examples,
        problems=tuple(problems),
        warnings=tuple(_warnings(examples)),
        counts=_counts(examples),
        tokens=() if problems else tuple(item.example for item in encoded if item.example is not None),
    )


def write_audit(path: Path, report: Audit) -> None:
    """Write the examples as Parquet, a row each, the columns of ``ExampleAudit``; equal audits give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {int: pa.int64(), int | None: pa.int64(), bool: pa.bool_()}
    columns = [pa.field(field.name, kinds.get(field.type, pa.string())) for field in fields(ExampleAudit)]
    schema = pa.schema(columns, metadata={"schema_version": str(SCHEMA_VERSION)})
    table = pa.Table.from_pylist([asdict(example) for example in report.examples], schema=schema)
    with open_atomic(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def _example(index: int, item: Encoded, place: str, special: bool, first_with_text: int) -> ExampleAudit:
    example = item.example
    return ExampleAudit(
        index=index,
        place=place,
        n_tokens=0 if example is None else len(example.ids),
        n_tokens_before=item.n_tokens_before,
        n_prompt=0 if example is None else item.n_prompt,
        n_trained=0 if example is None else int(example.loss.sum()),
        n_cut_prompt=item.n_cut_prompt,
        n_cut_right=item.n_cut_right,
        n_answer_lost=item.n_answer_lost,
        n_answers=0 if example is None else len(target_spans(example.loss)),
        duplicate_of=None if first_with_text == index else first_with_text,
        boundary_differs=item.boundary_differs,
        holds_special=special,
        fault=item.fault,
    )


_SHOWS: Mapping[str, tuple[Callable[[ExampleAudit], bool], str]] = {
    "n_cut_prompt": (lambda e: e.n_cut_prompt > 0, "the prompt loses its left end"),
    "n_cut_answers": (
        lambda e: e.fault is None and e.n_answer_lost > 0,
        "an answer loses its right end, and the mark that ends it",
    ),
    "n_boundary_differs": (
        lambda e: e.boundary_differs,
        "tokens of the text in one piece reach over the end of the prompt or of the answer",
    ),
    "n_holds_special": (lambda e: e.holds_special, "the data's own text holds a special token of the tokenizer"),
    "n_duplicates": (lambda e: e.duplicate_of is not None, "the same text stands there before"),
}
"""Count → what an example shows, and the words of the warning."""


def _counts(examples: Sequence[ExampleAudit]) -> dict[str, int]:
    sums = {name: sum(getattr(example, name) for example in examples) for name in ("n_tokens", "n_prompt", "n_trained")}
    return {
        "n_examples": len(examples),
        **sums,
        "longest": max(example.n_tokens for example in examples),
        **{name: sum(map(shows, examples)) for name, (shows, _) in _SHOWS.items()},
        "n_faulty": sum(example.fault is not None for example in examples),
        **{f"n_{fault}": n for fault, n in sorted(Counter(e.fault for e in examples if e.fault).items())},
    }


def _faults(encoded: Sequence[Encoded], places: Sequence[str]) -> Iterator[DataError]:
    found: dict[str, list[int]] = {}
    for index, item in enumerate(encoded):
        if item.fault:
            found.setdefault(item.fault, []).append(index)
    for fault, indexes in sorted(found.items()):
        yield fault_error(fault, indexes, encoded, places)


def _beyond_model(
    encoded: Sequence[Encoded], places: Sequence[str], limits: tuple[int, int | None, int | None]
) -> Iterator[DataError]:
    max_length, context_length, vocab_size = limits
    sound = [(place, item.example.ids) for place, item in zip(places, encoded, strict=True) if item.example is not None]
    if context_length and max_length > context_length:
        longest = max((len(ids) for _, ids in sound), default=0)
        what = (
            f"max_length {max_length:,} (longest example {longest:,}) exceeds the model's context of {context_length:,}"
        )
        yield DataError(what, next_step=f"set settings.training.max_length to {context_length} or less")
    if vocab_size and (beyond := [place for place, ids in sound if int(ids.max()) >= vocab_size]):
        what = f"token ids beyond the model's vocabulary of {vocab_size}: {places_text(beyond)}"
        yield DataError(what, next_step="is this the tokenizer of that base model?")


def _warnings(examples: Sequence[ExampleAudit]) -> Iterator[DataError]:
    for shows, words in _SHOWS.values():
        if found := [example.place for example in examples if shows(example)]:
            yield DataError(f"{words}: {places_text(found)}", where=f"{len(found):,} of {len(examples):,} examples")


def _with_special(rows: Sequence[Row], tokenizer: Any) -> set[int]:
    special = [token for token in tokenizer.all_special_tokens if token]
    return {i for i, row in enumerate(rows) if any(token in text for text in _texts(row) for token in special)}


def _texts(row: Row) -> tuple[str, ...]:
    if "messages" in row:
        return tuple(turn["content"] for turn in row["messages"])
    return row["prompt"], row["completion"]
