"""Vectors of words and counts of words: what a word is, what a file of vectors may be, whose words decide."""

import struct

import encoding_features_factory as factory
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.bag import fit_vocabulary
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.store import feature_files
from release_kit.encoding.features.texts import bin_texts
from release_kit.encoding.features.word_vectors import read_word_vectors
from release_kit.encoding.features.words import words_of

VECTORS = {"dog": [1.0, 2.0, 3.0], "Man": [0.5, 0.0, -1.0], "the": [0.0, 1e-3, 4.0], ". . .": [9.0, 9.0, 9.0]}


def write(path, form="glove", vectors=VECTORS):
    lines = [f"{word} {' '.join(map(str, values))}" for word, values in vectors.items()]
    if form == "binary":
        body = b"".join(word.encode() + b" " + struct.pack("<3f", *values) + b"\n" for word, values in vectors.items())
        path.write_bytes(b"%d 3\n" % len(vectors) + body)
    else:
        head = [f"{len(vectors)} 3"] if form == "word2vec" else []
        path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return path


def features(tmp_path, rows, path, language="en", **settings):
    spec = FeatureSpec(name="vectors", kind="static", model=path, level="story", language=language, **settings)
    table = factory.table(rows, language=language)
    return feature_files(spec, [bin_texts(table, "film", "story", language, 4.0, 1.0)], tmp_path / "store")


def test_words_are_told_from_their_marks():
    assert words_of("Don't stop, well-known Dr. No! (3.5 km)", "en") == [
        "Don't", "stop", "well-known", "Dr", "No", "3.5", "km",
    ]  # fmt: skip
    assert words_of("男 が 家 に、 入る。", "ja") == ["男", "が", "家", "に", "入る"]


@pytest.mark.parametrize(("form", "name"), [("glove", "v.txt"), ("word2vec", "v.vec"), ("binary", "v.bin")])
def test_forms_of_a_file_give_the_same_vectors_of_wanted_words_only(tmp_path, form, name):
    vectors = {word: values for word, values in VECTORS.items() if form == "glove" or " " not in word}
    table, place = read_word_vectors(write(tmp_path / name, form, vectors), {"dog", "Man", "cat"})
    assert place == {"Man": 0, "dog": 1}
    np.testing.assert_array_equal(table, np.array([[0.5, 0.0, -1.0], [1.0, 2.0, 3.0]], np.float32))


def test_bin_is_the_mean_of_known_words_and_unknown_ones_are_counted(tmp_path):
    rows = [("a", 0.0, 1.0, "The man, the cat"), ("a", 1.0, 1.0, "cat"), ("a", 2.0, 1.0, "DOG"), ("b", 2.0, 1.0, "the")]
    files = features(tmp_path, rows, write(tmp_path / "v.txt"))
    x = files.layer("film", 0)
    the, dog = np.array(VECTORS["the"]), np.array(VECTORS["dog"])
    np.testing.assert_allclose(x[0], the, rtol=1e-6)
    np.testing.assert_allclose(x[2], (the + dog) / 2, rtol=1e-6)
    assert files.missing("film").tolist() == [False, True, False, True] and not x[1].any()
    counts = files.counts()
    assert (counts["words"], counts["words_unknown"], counts["without_words"]) == (7, 3, 1)
    assert (counts["kinds"], counts["kinds_unknown"]) == (5, 2), "The, man, the, cat, DOG: `man` is not `Man`"


def test_joined_words_are_looked_up_by_their_parts(tmp_path):
    path = write(tmp_path / "v.txt", vectors={"do": [1.0, 0, 0], "n't": [0, 1.0, 0], "dog": [0, 0, 1.0]})
    x = features(tmp_path, [("a", 0.0, 1.0, "don\u2019t"), ("a", 1.0, 1.0, "dog-house")], path).layer("film", 0)
    np.testing.assert_allclose(x[:2], [[0.5, 0.5, 0], [0, 0, 1]])


def test_ragged_lines_are_named_at_once(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("dog 1 2 3\ncat 1 2\nman 1 2 3 4\nthe 1 2 3\nold 1 2 x\n")
    with pytest.raises(FeatureError) as caught:
        read_word_vectors(path, {"dog"})
    for part in (
        "line 2 ('cat",
        "has 2 values",
        "line 3 ('man",
        "has 4 values",
        "line 5 ('old')",
        "expected 3 numbers",
    ):
        assert part in caught.value.what
    assert "line 4" not in caught.value.what


@pytest.mark.parametrize("damage", ["cut", "no-number", "other-words", "empty"])
def test_damaged_file_is_not_half_used(tmp_path, damage):
    path = tmp_path / "v.bin"
    write(path, "binary", {"dog": [1, 2, 3], "cat": [1, 2, 3]})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "no-number":
        write(path, "binary", {"dog": [1, float("nan"), 3]})
    elif damage == "other-words":
        write(path, "binary", {"hund": [1, 2, 3]})
    else:
        path.write_bytes(b"")
    said = {"cut": "ends in word 2 of 2", "no-number": "no numbers: dog", "other-words": "none of the 1 word",
            "empty": "does not begin"}  # fmt: skip
    with pytest.raises(FeatureError, match=said[damage]):
        read_word_vectors(path, {"dog"})


def test_text_that_nobody_cut_into_words_is_refused_and_says_what_to_do(tmp_path):
    path = write(tmp_path / "v.txt", vectors={"男": [1, 0, 0], "家": [0, 1, 0]})
    with pytest.raises(FeatureError, match="1 of 1 texts in ja are not cut into words") as caught:
        features(tmp_path, [("a", 0.0, 1.0, "男がゆっくりと古い家に入っていくところだ。")], path, "ja")
    assert "morphological analyser" in caught.value.next_step
    x = features(tmp_path, [("a", 0.0, 1.0, "男 が 家 に 入る。")], path, "ja").layer("film", 0)
    np.testing.assert_allclose(x[0], [0.5, 0.5, 0])


def test_bag_of_words_equals_scikit_learns(tmp_path):
    texts = factory.sentences(30, seed=4)
    rows = [("a", float(k), 1.0, text) for k, text in enumerate(texts)]
    binned = bin_texts(factory.table(rows), "film", "story", "en", 30.0, 1.0)
    train = np.arange(30) < 20
    for weighting in ("count", "tf-idf"):
        spec = FeatureSpec(name="words", kind="bag-of-words", level="story", min_count=3, weighting=weighting)
        files = feature_files(spec, [binned], tmp_path / weighting, train_bins={"film": train})
        settings = {} if weighting == "tf-idf" else {"use_idf": False, "norm": None}
        theirs = TfidfVectorizer(min_df=3, token_pattern=r"\w+", **settings).fit(texts[:20])
        np.testing.assert_allclose(files.layer("film", 0), theirs.transform(texts).toarray(), atol=1e-6)
        n_known = theirs.transform(texts).astype(bool).sum()
        assert 0 < files.counts()["words_unknown"] <= files.counts()["words"] - n_known


def test_most_frequent_words_are_kept_and_none_at_all_is_refused():
    spec = FeatureSpec(name="words", kind="bag-of-words", level="story", min_count=2, max_words=2)
    assert fit_vocabulary(spec, ["a b c", "a b", "a c", "a"]).words == ("a", "b")
    with pytest.raises(FeatureError, match="none of 3 words stands in 2 of 2 different training texts"):
        fit_vocabulary(spec, ["a b", "c"])


def test_signs_written_onto_letters_are_parts_of_their_words():
    assert words_of("cafe\u0301s \u2764\ufe0f na\u00efve", "fr") == ["caf\u00e9s", "na\u00efve"]
    assert words_of("हिन्दी भाषा।", "hi") == ["हिन्दी", "भाषा"]
    assert words_of("\u0645\u06cc\u200c\u062e\u0648", "fa") == ["\u0645\u06cc\u200c\u062e\u0648"]
    assert words_of("ที่ นี่ 「家」", "th") == ["ที่", "นี่", "家"]


UNCUT = "男がゆっくりと古い家に入っていくところだ"


THAI = "ผู้ชายคนหนึ่งกำลังเดินเข้าไปในบ้าน"


@pytest.mark.parametrize(("language", "text"), [("th", THAI), ("jpn", UNCUT), ("ja_JP", UNCUT)])
def test_uncut_texts_are_refused_whatever_marks_and_codes_they_have(tmp_path, language, text):
    path = write(tmp_path / "v.txt", vectors={"家": [1, 0, 0]})
    with pytest.raises(FeatureError, match="are not cut into words"):
        features(tmp_path, [("a", 0.0, 1.0, text)], path, language)


def test_language_that_need_not_be_named_is_that_of_the_annotations(tmp_path):
    rows = [("a", 0.0, 1.0, UNCUT), ("a", 1.0, 1.0, UNCUT)]
    films = [bin_texts(factory.table(rows, language="ja"), "film", "story", None, 4.0, 1.0)]
    for spec in (
        FeatureSpec(name="words", kind="bag-of-words", level="story", min_count=1),
        FeatureSpec(name="vectors", kind="static", level="story", model=write(tmp_path / "v.txt")),
    ):
        with pytest.raises(FeatureError, match="1 of 1 texts in ja are not cut into words"):
            feature_files(spec, films, tmp_path / "store", train_bins={"film": np.ones(4, bool)})


def test_named_or_not_the_same_language_is_the_same_key(tmp_path):
    films = [bin_texts(factory.table([("a", 0.0, 1.0, "dog")]), "film", "story", None, 4.0, 1.0)]
    specs = [FeatureSpec(name="words", kind="bag-of-words", level="story", language=language, min_count=1)
             for language in (None, "en")]  # fmt: skip
    train = {"film": np.ones(4, bool)}
    assert len({feature_files(spec, films, tmp_path, train_bins=train).key for spec in specs}) == 1


def test_file_that_ends_between_two_words_is_not_half_used(tmp_path):
    path = write(tmp_path / "v.vec", "word2vec", {"dog": [1, 2, 3], "cat": [1, 2, 3], "man": [1, 2, 3]})
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(FeatureError, match="ends after 2 of 3 words"):
        read_word_vectors(path, {"dog"})
