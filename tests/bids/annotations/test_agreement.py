"""Agreement of annotators: measures against references, the null beside them, and what the real encoder says."""

import itertools
import random

import annotation_study
import pytest
from annotation_study import row
from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids.annotations.agreement import (
    embedding_agreement,
    is_label_like,
    krippendorff_alpha,
    label_units,
    token_agreement,
)
from release_kit.bids.annotations.bins import Binned, binned, both
from release_kit.bids.annotations.encoder import RememberingEncoder, encoder_folder, knows
from release_kit.bids.annotations.quality_drift import lag_drift, lag_findings
from release_kit.bids.annotations.tokens import has_letters, is_foreign_script, is_placeholder, normalised, tokens

WORDS = ("station", "letter", "brother", "train", "coast", "bench", "rain", "house", "garden", "road", "night", "song")


def track(
    texts: list[str], step: int = 1, late: float = 0.0, stretch: float = 1.0, duration: float | None = None
) -> Binned:
    """Bins of texts that last ``step`` seconds each, moved and stretched in time."""
    rows = [row("storyA01", i * step * stretch + late, step * stretch, text) for i, text in enumerate(texts)]
    return binned(rows, duration or len(texts) * step)


def sentences(n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(5)) + f" {i}" for i in range(n)]


def test_words_are_tokens_and_scripts_without_spaces_give_pairs_of_letters():
    assert tokens("The train, the TRAIN arrives.") == {"the", "train", "arrives"}
    assert tokens("駅で待つ") == {"駅で", "で待", "待つ"}
    assert tokens("\uff34\uff32\uff21\uff29\uff2e") == {"train"}
    assert tokens("DVDを見る 2") == {"dvd", "を見", "見る", "2"}
    assert tokens("...") == frozenset()


def test_what_stands_for_nothing_and_what_is_in_another_script_are_known():
    assert is_placeholder(" .. ") and is_placeholder("不明") and not is_placeholder("no")
    assert is_foreign_script("彼は駅で待つ", "en-GB") and is_foreign_script("He waits there", "ja")
    assert not is_foreign_script("彼はDVDを見る", "ja") and not is_foreign_script("12", "ja")
    assert not is_foreign_script("Ada", "ja"), "a short name may stand in Latin letters"
    assert has_letters("é") and not has_letters("12 %")
    assert normalised(" A\t\nb ") == "a b"


@pytest.mark.parametrize(
    ("onset", "duration", "held"),
    [(1, 2, {1, 2}), (1.2, 0.1, {1}), (1.9, 0.2, {1, 2}), (2, 0, {2}), (-1, 2, {0}), (3.5, 9, {3}), (9, 1, set())],
)
def test_a_row_is_in_every_bin_that_it_has_a_part_in(onset, duration, held):
    bins = binned([row("storyA01", onset, duration, "x")], 4)
    assert {i for i, key in enumerate(bins.keys) if key >= 0} == held


def test_token_scores_are_those_of_sets_second_by_second():
    left, right = track(annotation_study.STORY[:4], 2), track(annotation_study.RETOLD[:4], 2)
    pairs = [(set(a.lower().split()), set(b.lower().replace("'", " ").split())) for a, b in
             zip(annotation_study.STORY[:4], annotation_study.RETOLD[:4], strict=True)]  # fmt: skip
    found = token_agreement(left, right)
    assert found["f1"] == pytest.approx(sum(2 * len(a & b) / (len(a) + len(b)) for a, b in pairs) / 4)
    assert found["jaccard"] == pytest.approx(sum(len(a & b) / len(a | b) for a, b in pairs) / 4)
    assert (found["n_bins"], found["only_left"], found["only_right"]) == (8, 0, 0)


def test_bins_that_one_left_empty_are_counted_and_not_scored():
    left = binned([row("storyA01", 0, 6, "a b")], 10)
    right = binned([row("storyA01", 4, 6, "a b")], 10)
    found = token_agreement(left, right)
    assert (found["n_bins"], found["only_left"], found["only_right"], found["f1"]) == (2, 4, 4, 1.0)


def test_the_same_words_at_other_times_are_no_agreement():
    texts = sentences(60, seed=1)
    same = token_agreement(track(texts), track(texts))
    assert same["f1"] == 1.0 and same["f1_null"].p95 < 0.6
    mixed = random.Random(2).sample(texts, len(texts))
    moved = token_agreement(track(texts), track(mixed))
    assert moved["f1"] == pytest.approx(moved["f1_null"].mean, abs=0.05)


@given(st.integers(0, 60), st.integers(-20, 20))
def test_a_lag_pairs_the_bins_that_it_says(n, lag):
    bins = Binned(keys=tuple(range(n)), texts=("x",) * n, tokens=(frozenset("x"),) * n)
    assert both(bins, bins, lag=lag) == [(i, i + lag) for i in range(n) if 0 <= i + lag < n]


def test_alpha_is_that_of_the_published_example():
    raters = (
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    units = [[v for v in unit if v != "."] for unit in zip(*(rater.split() for rater in raters), strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)  # Krippendorff 2011, example C


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=12))
def test_alpha_is_one_minus_observed_over_expected_disagreement_of_pairs(units):
    units = [unit for unit in units if len(unit) > 1]
    values = list(itertools.chain.from_iterable(units))
    expected = sum(a != b for a, b in itertools.permutations(values, 2))
    found = krippendorff_alpha(units)
    if not expected:
        assert found is None
        return
    observed = sum(sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units)
    n = len(values)
    assert found == pytest.approx(1 - (observed / n) / (expected / (n * (n - 1))))


def test_labels_are_few_and_come_again():
    assert is_label_like(["day", "night"] * 3)
    assert not is_label_like(["day", "night"])
    assert not is_label_like(["day"] * 9)
    assert not is_label_like([f"text {i}" for i in range(100)])
    assert label_units([track(["Day", "night"]), track(["day"], duration=2)]) == [["day", "day"], ["night"]]


def test_a_constant_lag_between_annotators_is_measured():
    texts = sentences(90, seed=3)
    drift = lag_drift("film", ("a", "b"), track(texts, 4), track(texts, 4, late=5, duration=360))
    assert drift.lag_s == 5 and abs(drift.stretch) < 1e-9
    (finding,) = lag_findings(drift)
    assert finding.code == "shifted" and "5 s late" in finding.what


def test_a_stretch_between_annotators_is_measured():
    texts = sentences(180, seed=4)
    drift = lag_drift("film", ("a", "b"), track(texts, 4), track(texts, 4, stretch=1.02, duration=720))
    assert drift.stretch == pytest.approx(0.02, abs=0.003)
    (finding,) = lag_findings(drift)
    assert finding.code == "stretched"


def test_annotators_in_time_have_no_lag_and_others_have_no_finding():
    texts = sentences(90, seed=5)
    good = lag_drift("film", ("a", "b"), track(texts, 4), track([text + " and more" for text in texts], 4))
    assert set(lag for _, lag in good.parts) == {0} and not list(lag_findings(good))
    strangers = lag_drift("film", ("a", "b"), track(texts, 4), track(sentences(90, seed=6), 4))
    assert strangers is None or not list(lag_findings(strangers))
    assert lag_drift("film", ("a", "b"), track(texts[:10], 4), track(texts[:10], 4)) is None, "too short to tell"


@pytest.fixture(scope="module")
def encoder() -> RememberingEncoder:
    folder = encoder_folder()
    if folder is None:
        pytest.skip("the sentence encoder is not installed")
    return RememberingEncoder(folder)


@pytest.mark.slow
def test_the_encoder_hears_the_same_meaning_in_other_words(encoder):
    story = ["The lawyer wins her case", "Rain floods the village", "A boy feeds the dog", "They marry in spring"] * 4
    retold = ["An attorney is victorious in court", "A hamlet is under water after a storm",
              "The child gives the puppy its dinner", "The wedding is held in April"] * 4  # fmt: skip
    found = embedding_agreement(track(story), track(retold), encoder.encode)
    assert found["n_embedded"] == 16
    assert found["cosine"] > 0.4 > found["cosine_null"].p95
    assert token_agreement(track(story), track(retold))["f1"] < 0.3, "tokens do not see it"
    assert knows("en-US") and not knows("ja")


@pytest.mark.slow
def test_vectors_have_length_one_and_depend_on_the_text_alone(encoder):
    import numpy as np

    alone = encoder.encode(["A boy feeds the dog"])
    fresh = RememberingEncoder(encoder_folder()).encode(["A boy feeds the dog", "x " * 300])
    assert alone.shape == (1, 384)
    assert np.allclose(np.linalg.norm(fresh, axis=1), 1, atol=1e-5)
    assert np.allclose(alone[0], fresh[0], atol=1e-5)
