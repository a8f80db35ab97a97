"""A name in the lab is found by its parts, however they are spelled, and ordinary words are left alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids.sidecars.leak_parts import NamePart, folded, name_parts, wide
from release_kit.bids.sidecars.leak_words import WordFinder
from release_kit.bids.sidecars.leaks import find_leaks


def hits(text: str | bytes, *names: str, ordinary: tuple[str, ...] = ()) -> list[str]:
    finder = WordFinder([*names, *name_parts(names, ordinary)])
    return [hit.word for hit in finder.search([text.encode() if isinstance(text, str) else text])]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("tanaka_yuki", ["tanaka", "yuki"]), ("TanakaYuki", ["Tanaka", "TanakaYuki", "Yuki"]), ("S01", ["S01"]),
        ("Müller-Lüdenscheidt, K.", ["Lüdenscheidt", "Müller"]), ("subject_0012", []), ("sub01_scan2", []),
        ("20210304", []), ("garcia2", ["garcia", "garcia2"]), ("田中_由紀", ["田中", "由紀"]), ("pilot AB12", ["AB12"]),
    ],
)  # fmt: skip
def test_names_are_cut_where_people_cut_them(name: str, parts: list[str]):
    assert list(name_parts([name])) == parts


@pytest.mark.parametrize(
    "text",
    [
        "Goodbye Tanaka Yuki", "YUKI runs", "yuki_run1", "by Yuki.", wide("Yuki"), wide("yuki") + "さん", "Yukiさん",
        "Yúki runs", '{"by": "Y\\u00faki"}', "one\ntwo Yu\u0301ki", wide("Yuki").encode("cp932"),
        "Yuki".encode("utf-16"), wide("Yuki").encode("utf-16"), "Yúki".encode("cp1252"),
    ],
    ids=range(14),
)  # fmt: skip
def test_a_part_is_found_in_any_case_width_and_accent(text: str | bytes):
    assert "yuki" in hits(text, "tanaka_yuki")


@pytest.mark.parametrize("text", ["Yukio runs", "Miyuki runs", "Miyúki runs", "yukié", "tan akayu ki", "Ren and Renée"])
def test_a_part_inside_of_another_word_is_none(text: str):
    assert hits(text, "tanaka_yuki", "otto_rené"[:4]) == []


def test_ordinary_words_and_labels_are_not_searched():
    assert hits("a rose, a subject", "rose_miller", "subject_9", ordinary=("Rose",)) == []
    assert hits("a rose", "rose_miller") == ["rose"]


def test_a_name_is_told_once_where_it_stands_whole_or_in_two_cases():
    assert hits("tanaka_yuki", "tanaka_yuki") == ["tanaka_yuki"]
    assert hits("see SUZUKI", "SUZUKI", "Suzuki") == ["Suzuki"]
    assert hits("see Müller", "müller") == ["müller"]


def test_a_part_at_the_border_of_two_pieces_is_judged_by_what_follows():
    finder = WordFinder(name_parts(["tanaka_yuki"]))
    assert [hit.word for hit in finder.search(["é Yúki".encode(), b"o runs"])] == []
    assert [hit.word for hit in finder.search(["é Yúki".encode(), b" runs"])] == ["yuki"]


def test_the_last_look_finds_parts_in_files_and_names(tmp_path: Path):
    (tmp_path / "Yuki.txt").write_text("fine\nTÁNAKA\n", encoding="utf-8")
    found = [(leak.code, leak.what) for leak in find_leaks(tmp_path, name_parts(["tanaka_yuki"]))]
    assert [code for code, _ in found] == ["name", "word"] and "line 2" in found[1][1]


@given(st.text())
def test_folding_twice_is_folding_once(text: str):
    assert folded(folded(text)) == folded(text)


@given(st.text(alphabet="abcdefghij", min_size=3, max_size=8), st.sampled_from(" .,_-/\n\t(『"))
def test_every_part_is_found_between_borders(part: str, border: str):
    finder = WordFinder([NamePart(part)])
    assert finder.search_text(f"x{border}{part.title()}{border}y")
