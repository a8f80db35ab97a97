"""Words and their meanings, out of a dictionary's file and out of tables of the user's."""

from pathlib import Path

import pytest

from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.meanings import JMDICT, parse_jmdict, read_words, words_digest

XML = """
<entry><ent_seq>1</ent_seq>
<k_ele><keb>犬</keb><ke_pri>ichi1</ke_pri></k_ele><k_ele><keb>狗</keb></k_ele>
<r_ele><reb>いぬ</reb></r_ele>
<sense><gloss>dog (Canis (lupus) familiaris)</gloss><gloss>hound</gloss><gloss xml:lang="ger">Hund</gloss></sense>
<sense><stagk>狗</stagk><misc>&uk;</misc><gloss>spy</gloss><gloss>secret agent</gloss></sense>
<sense><gloss xml:lang="fre">chien</gloss></sense>
</entry>
<entry><ent_seq>2</ent_seq>
<k_ele><keb>食べる</keb><ke_pri>news2</ke_pri></k_ele><r_ele><reb>たべる</reb><re_pri>ichi1</re_pri></r_ele>
<sense><gloss>to eat</gloss></sense>
</entry>
<entry><ent_seq>3</ent_seq><r_ele><reb>テレビ</reb><re_pri>spec1</re_pri></r_ele>
<sense><gloss>a Television</gloss></sense></entry>
<entry><ent_seq>4</ent_seq><k_ele><keb>稀語</keb><ke_pri>nf40</ke_pri></k_ele><r_ele><reb>きご</reb></r_ele>
<sense><gloss>rarity</gloss></sense></entry>
"""


def test_words_of_a_sense_share_it_and_rare_entries_and_other_languages_are_left_out():
    words = parse_jmdict(XML)
    assert words["ja", "犬"] == words["en", "dog"] == words["en", "hound"] < words["ja", "狗"]
    assert words["en", "spy"] == words["ja", "狗"] - words["ja", "犬"]
    assert words["ja", "食べる"] == words["en", "eat"] and words["ja", "テレビ"] == words["en", "television"]
    assert {word for _, word in words} == {"犬", "狗", "dog", "hound", "spy", "食べる", "eat", "テレビ", "television"}


def test_a_reading_is_a_word_only_where_nothing_is_written_with_kanji_or_the_sense_is_usually_kana():
    words = parse_jmdict(XML.replace("<stagk>狗</stagk>", ""))
    assert ("ja", "たべる") not in words
    assert words["ja", "いぬ"] == words["en", "spy"]


def test_a_table_gives_meanings_in_whatever_order_its_lines_stand(tmp_path: Path):
    lines = ["dog\ten\tDog", "dog\tja\t犬", "eat\tja\t食べる", "eat\ten\teat", "spy\tja\t犬"]
    found = []
    for name, those in (("a.tsv", lines), ("b.tsv", lines[::-1])):
        (tmp_path / name).write_text("\n".join(those) + "\n", encoding="utf-8")
        found.append(read_words(tmp_path / name))
    assert found[0] == found[1]
    assert found[0]["en", "dog"] < found[0]["ja", "犬"] and found[0]["en", "eat"] == found[0]["ja", "食べる"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dog\ten\tdog\ndog\tja\n", "line 2 has 2 columns; expected 3"),
        ("dog\tde\tHund\n", "line 1 has the language 'de'"),
        ("dog\ten\t \n", "line 1 has an empty column"),
        ("dog\ten\tdog\n", "holds no word in ja"),
        ("", "holds no word in en; holds no word in ja"),
    ],
)
def test_a_malformed_table_is_refused_with_its_lines(tmp_path: Path, text: str, said: str):
    path = tmp_path / "words.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SaeError, match=said):
        read_words(path)


def test_a_table_that_is_not_there_says_what_to_name(tmp_path: Path):
    for look in (read_words, words_digest):
        with pytest.raises(SaeError, match=r"cannot be read .* name a UTF-8 table"):
            look(tmp_path / "none.tsv")


def test_the_digest_follows_every_byte(tmp_path: Path):
    path = tmp_path / "words.tsv"
    path.write_text("dog\ten\tdog\ndog\tja\t犬\n", encoding="utf-8")
    before = words_digest(path)
    path.write_text("dog\ten\tdog\ndog\tja\t狗\n", encoding="utf-8")
    assert len({before, words_digest(path), words_digest(JMDICT)}) == 3


@pytest.mark.slow
def test_the_real_dictionary_knows_common_words_of_both_languages():
    words = read_words(JMDICT)
    for japanese, english in (("犬", "dog"), ("水", "water"), ("食べる", "eat"), ("大きい", "big"), ("学校", "school")):
        assert words["ja", japanese] & words["en", english], english
    assert not words["ja", "犬"] & words["en", "water"]
    assert len(words) > 30_000
