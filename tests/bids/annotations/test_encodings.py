"""Encodings are found out where the bytes leave no doubt, and refused with the candidates where they do."""

import pytest

from release_kit.bids.annotations.encodings import decode, split_lines
from release_kit.core.errors import RecordError

SPEECH = "[0] メイン#ウォルター:なんてこった/不明\n[1] 男が車で走っている。\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp932", "euc_jp", "iso2022_jp"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_japanese_text_is_read_in_every_common_encoding(encoding: str, end: str):
    text = SPEECH.replace("\n", end)
    found = decode(text.encode(encoding), where="f")
    assert (found.text, found.encoding) == (text, encoding)
    assert split_lines(found.text) == SPEECH.splitlines()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_wide_text_without_a_mark_is_told_by_its_zero_bytes(encoding: str):
    assert decode("[0] a café\n".encode(encoding), where="f").encoding == encoding
    assert decode("[0] a café\n".encode(encoding), declared="utf-16", where="f").text == "[0] a café\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("café au lait, naïve Übung\n", "cp1252"),
        ("안녕하세요 세계 나는\n", "euc_kr"),
        ("你好世界。我是中国人。他们在医院\n", "gb18030"),
        ("привет, мир\n", "cp1251"),
        ("病院\n学校\n", "cp932"),
        ("ｱｲｳｴｵ\n", "cp932"),
        ("ﾂｩ", "cp932"),
    ],
)
def test_what_may_be_several_encodings_is_refused_with_the_candidates(text: str, encoding: str):
    with pytest.raises(RecordError, match=r"cannot be told for sure \(fitting: .*\) — set `encoding`") as caught:
        decode(text.encode(encoding), where="f")
    assert decode(text.encode(encoding), declared=encoding, where="f").text == text
    assert str(caught.value).startswith("f: ")


def test_the_language_of_the_source_settles_text_without_kana():
    for encoding in ("cp932", "euc_jp"):
        assert decode("病院\n学校\n".encode(encoding), language="ja-JP", where="f").encoding == encoding


def test_lines_in_two_encodings_are_named():
    data = (SPEECH * 3).encode() + "犬が吠える\n".encode("cp932") + SPEECH.encode()
    with pytest.raises(RecordError, match="mixes encodings: line 7 is not UTF-8, 8 other lines are"):
        decode(data, where="f")


def test_a_declared_encoding_that_does_not_fit_names_the_line_and_what_fits():
    with pytest.raises(RecordError, match=r"is not utf-8: .* at byte \d+ \(about line 2\).*\(cp932"):
        decode(b"plain\n" + SPEECH.encode("cp932"), declared="utf8", where="f")
    for unknown in ("rot13", "no-such", "base64"):
        with pytest.raises(RecordError, match="is not known"):
            decode(b"x", declared=unknown, where="f")


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(RecordError, match="no known text encoding"):
        decode(b"\x80\x81\xff\xfe", where="f")
    with pytest.raises(RecordError, match="no byte order mark, and its byte order cannot be told"):
        decode(b"\xd8\xd8", declared="utf-16", where="f")


def test_plain_text_and_nothing_at_all_are_utf8():
    assert decode(b"", where="f").text == "" and decode(b"plain\n", where="f").encoding == "utf-8"
    assert split_lines("") == [] and split_lines("a\r\n\r\nb\rc") == ["a", "", "b", "c"]
