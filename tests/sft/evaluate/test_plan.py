"""The plan of rows: every request exactly once, every token under its own text, shared beginnings computed once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.sft.evaluate.plan import Row, Scored, plan_rows


def texts_of(row: Row) -> dict[int, tuple[int, ...]]:
    """Return request → the tokens that its last prediction sees, followed through the parents."""
    trunk = [token for piece in row.trunk for token in piece]
    seen = {}
    for wanted in row.wanted:
        place, own = wanted.positions[-1], []
        while place >= 0:
            own.append(row.ids[place])
            place = row.parents[place]
        seen[wanted.request] = (*trunk, *reversed(own))
    return seen


def scored(tokens: list[int], n_targets: int) -> Scored:
    n_targets = min(n_targets, len(tokens))
    return Scored(inputs=tuple(tokens), targets=tuple(range(n_targets)))


REQUESTS = st.lists(
    st.builds(scored, st.lists(st.integers(0, 2), min_size=1, max_size=14), st.integers(1, 4)), max_size=24
)


@settings(max_examples=100, deadline=None)
@given(REQUESTS, st.integers(1, 30), st.integers(1, 5))
def test_every_request_is_computed_once_with_exactly_its_own_tokens_before_it(requests, row_tokens, min_trunk):
    rows = plan_rows(requests, row_tokens=row_tokens, min_trunk=min_trunk)
    seen: dict[int, tuple[int, ...]] = {}
    for row in rows:
        texts = texts_of(row)
        assert not seen.keys() & texts.keys()
        seen |= texts
        for wanted in row.wanted:
            text = requests[wanted.request]
            assert len(wanted.positions) == len(text.targets)
            depths = row.depths()
            first = len(text.inputs) - len(text.targets)
            assert [depths[place] for place in wanted.positions] == list(range(first, len(text.inputs)))
    assert seen == {index: text.inputs for index, text in enumerate(requests)}


@settings(max_examples=50, deadline=None)
@given(REQUESTS, st.integers(1, 30))
def test_a_row_is_long_only_where_one_beginning_leaves_no_choice(requests, row_tokens):
    longest = max((len(text.inputs) for text in requests), default=0)
    for row in plan_rows(requests, row_tokens=row_tokens, min_trunk=2):
        assert len(row.ids) <= max(row_tokens, longest)


def test_choices_share_their_question_and_questions_their_examples():
    examples = list(range(100, 160))
    requests = [
        scored([*examples, *range(10 * question, 10 * question + 8), 90 + choice, 91], 2)
        for question in range(6)
        for choice in range(4)
    ]
    rows = plan_rows(requests, row_tokens=40, min_trunk=16)
    assert {row.trunk for row in rows} == {(tuple(examples),)}
    assert sum(len(row.ids) for row in rows) == 6 * (8 + 4 * 2)


def test_nested_trunks_keep_their_common_piece_so_that_it_is_not_computed_again():
    requests = [
        scored([*range(40), *range(100 + group * 50, 140 + group * 50), 900 + tail, 901], 1)
        for group in range(2)
        for tail in range(30)
    ]
    trunks = {row.trunk for row in plan_rows(requests, row_tokens=30, min_trunk=16)}
    assert {len(trunk) for trunk in trunks} == {2}
    assert {trunk[0] for trunk in trunks} == {tuple(range(40))}


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_plan_of_nothing_and_of_equal_texts(length):
    rows = plan_rows([scored([1, 2, 3], 1)] * length)
    assert sum(len(row.wanted) for row in rows) == length
    assert sum(len(row.ids) for row in rows) == (3 if length else 0)
