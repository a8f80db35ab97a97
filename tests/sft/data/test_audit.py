"""The audit says what becomes of every example, refuses what would train nothing, and names the lines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from release_kit.sft.data.audit import audit, write_audit
from release_kit.sft.data.errors import DataError
from release_kit.sft.data.tokens import tokenize


def test_a_sound_run_passes_with_its_numbers(tokenizer: Any, settings: Callable, sum_rows: Callable):
    report = audit(sum_rows(6), tokenizer, settings())
    report.refuse()
    assert report.ok and not report.warnings
    assert report.counts["n_examples"] == 6 == len(report.examples)
    assert report.counts["n_tokens"] == sum(example.n_tokens for example in report.examples)
    assert report.counts["n_prompt"] + report.counts["n_trained"] == report.counts["n_tokens"]
    alone = tokenize(sum_rows(6), tokenizer, settings())
    assert all((a.ids == b.ids).all() and (a.loss == b.loss).all() for a, b in zip(report.tokens, alone, strict=True))
    assert report.counts["longest"] == max(example.n_tokens for example in report.examples)


def test_what_truncation_takes_is_counted(tokenizer: Any, settings: Callable):
    row = {"prompt": "1 2 3 4 5 6 7 8 9", "completion": " 1 2 3 4 5 6 7 8 9"}
    whole = audit([row], tokenizer, settings()).examples[0]
    short = settings(max_length=whole.n_tokens - 3, truncation="prompt")
    left = audit([row], tokenizer, short)
    assert left.examples[0].n_cut_prompt == 3 and left.examples[0].n_prompt == whole.n_prompt - 3
    assert left.ok and "the prompt loses its left end: example 0" in str(left.warnings[0])
    right = audit([row], tokenizer, settings(max_length=whole.n_tokens - 3, truncation="completion"))
    assert right.examples[0].n_cut_right == right.examples[0].n_answer_lost == 3
    assert right.ok and "loses its right end" in str(right.warnings[0])


def test_refusal_names_every_kind_with_lines_and_next_step(tokenizer: Any, settings: Callable, sum_rows: Callable):
    rows = [*sum_rows(3), {"prompt": "p", "completion": ""}, {"prompt": "p" * 300, "completion": "c"}]
    places = [f"data/d.jsonl, line {index + 1}" for index in range(len(rows))]
    report = audit(rows, tokenizer, settings(), places=places)
    with pytest.raises(DataError) as caught:
        report.refuse("run x")
    text = str(caught.value)
    assert text.startswith("run x: 2 problems")
    assert "1 of 5 examples: the completion is empty: data/d.jsonl, line 4 — remove these examples" in text
    assert "longer than max_length: data/d.jsonl, line 5" in text
    assert report.counts["n_faulty"] == 2 and report.counts["n_empty-completion"] == 1


def test_no_example_at_all_is_refused(tokenizer: Any, settings: Callable):
    with pytest.raises(DataError, match="no example to train on"):
        audit([], tokenizer, settings()).refuse()


def test_lengths_beyond_the_models_context_and_ids_beyond_its_vocabulary_are_refused(
    tokenizer: Any, settings: Callable, sum_rows: Callable
):
    rows = sum_rows(3)
    assert audit(rows, tokenizer, settings(), context_length=64, vocab_size=400).ok
    with pytest.raises(DataError, match=r"max_length 64 \(longest example \d+\) exceeds the model's context of 63"):
        audit(rows, tokenizer, settings(), context_length=63).refuse()
    with pytest.raises(DataError, match="beyond the model's vocabulary of 100"):
        audit(rows, tokenizer, settings(), vocab_size=100).refuse()


def test_duplicates_special_tokens_and_merged_boundaries_are_said_and_accepted(
    tokenizer: Any, settings: Callable, sum_rows: Callable
):
    apples = {"prompt": "The app", "completion": "les are in the basket."}
    special = {"prompt": "Say <|im_end|> now", "completion": " no"}
    report = audit([*sum_rows(2), sum_rows(1)[0], apples, special], tokenizer, settings())
    assert report.ok
    assert report.examples[2].duplicate_of == 0
    assert [e.index for e in report.examples if e.boundary_differs] == [3]
    assert [e.index for e in report.examples if e.holds_special] == [4]
    assert len(report.warnings) == 3
    assert {"n_duplicates": 1, "n_boundary_differs": 1, "n_holds_special": 1}.items() <= report.counts.items()


def test_turns_of_a_conversation_are_counted(tokenizer: Any, settings: Callable):
    turns = [{"role": role, "content": role} for role in ("user", "assistant") * 3]
    report = audit([{"messages": turns}], tokenizer, settings(template="chat", max_length=128))
    assert report.ok and report.examples[0].n_answers == 3


def test_a_setting_that_no_template_follows_is_the_problem(tokenizer: Any, settings: Callable, sum_rows: Callable):
    report = audit(sum_rows(2), tokenizer, settings(template="{prompt}"))
    with pytest.raises(DataError, match=r"settings\.training\.template"):
        report.refuse()


def test_the_table_of_examples_has_equal_bytes_for_equal_audits(
    tmp_path: Path, tokenizer: Any, settings: Callable, sum_rows: Callable
):
    rows = [*sum_rows(4), {"prompt": "p", "completion": ""}]
    for name in ("a", "b"):
        write_audit(tmp_path / f"{name}.parquet", audit(rows, tokenizer, settings()))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    table = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["fault"] for row in table] == [None] * 4 + ["empty-completion"]
    assert table[0]["n_trained"] > 0 and table[0]["duplicate_of"] is None
