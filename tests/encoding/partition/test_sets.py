"""Regions of the Venn diagram add up to the whole, and are what was planted."""

from itertools import combinations

import numpy as np
import pytest

from release_kit.encoding.errors import FitError
from release_kit.encoding.partition.sets import all_unions, partition, region_name, unique, unique_unions

BANDS = ("speech", "object", "story", "summary")


def scores_of(regions: dict[frozenset, float], bands: tuple[str, ...]) -> dict[frozenset, float]:
    """Return the score of each union when the regions have these sizes: the sum of all regions that it touches."""
    return {union: sum(size for inside, size in regions.items() if inside & union) for union in all_unions(bands)}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_regions_that_made_the_scores_come_back(n: int):
    bands = BANDS[:n]
    rng = np.random.default_rng(n)
    planted = {union: float(rng.uniform(-0.1, 1)) for union in all_unions(bands)}
    found = partition(scores_of(planted, bands), bands)
    assert len(found) == 2**n - 1
    for inside, size in planted.items():
        kind = "unique" if len(inside) == 1 else "shared"
        name = f"{kind}:{'+'.join(band for band in bands if band in inside)}"
        assert found[name] == pytest.approx(size)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_any_scores_add_up_to_that_of_all_bands(n: int):
    bands = BANDS[:n]
    rng = np.random.default_rng(n)
    scores = {union: rng.standard_normal((5, 7)) for union in all_unions(bands)}
    np.testing.assert_allclose(sum(partition(scores, bands).values()), scores[frozenset(bands)], atol=1e-12)


def test_the_unique_part_needs_only_the_unions_without_one():
    scores = {union: np.random.default_rng(len(union)).standard_normal(4) for union in all_unions(BANDS)}
    few = {union: scores[union] for union in unique_unions(BANDS)}
    assert len(few) == 5
    whole = partition(scores, BANDS)
    for name, values in unique(few, BANDS).items():
        np.testing.assert_allclose(values, whole[name])
    assert unique({frozenset(["a"]): 0.3}, ["a"]) == {"unique:a": 0.3}
    with pytest.raises(FitError, match="the union object has no score"):
        partition({frozenset(["object", "story"]): 1.0, frozenset(["story"]): 0.5}, ["object", "story"])


def test_planted_designs_give_planted_parts():
    rng = np.random.default_rng(0)
    common, own_a, own_b, noise = rng.standard_normal((4, 200_000))
    a, b = np.stack([common, own_a]), np.stack([common, own_b])
    y = 0.5 * common + 0.6 * own_a + 0.3 * own_b + noise
    features = {"a": a, "b": b, "again": a}

    def r2(names: frozenset) -> float:
        x = np.concatenate([features[name] for name in sorted(names)]).T
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        return float(1 - left.var() / y.var())

    bands = ("a", "b")
    found = partition({union: r2(union) for union in all_unions(bands)}, bands)
    variance = y.var()
    assert found["unique:a"] == pytest.approx(0.36 / variance, abs=0.01)
    assert found["unique:b"] == pytest.approx(0.09 / variance, abs=0.01)
    assert found["shared:a+b"] == pytest.approx(0.25 / variance, abs=0.01)
    twice = ("a", "again")
    found = partition({union: r2(union) for union in all_unions(twice)}, twice)
    assert found["unique:a"] == pytest.approx(0, abs=1e-9), "what stands twice is unique nowhere"


@pytest.mark.parametrize("bands", [[], ["a", "a"]])
def test_bands_are_named_once(bands: list):
    with pytest.raises(FitError, match="each once"):
        all_unions(bands)


def test_the_unions_are_every_one():
    assert all_unions("abc") == [frozenset(some) for n in (1, 2, 3) for some in combinations("abc", n)]


def test_regions_are_named_from_any_iterable_in_the_order_of_tables():
    assert region_name(iter(["story", "object"]), BANDS) == "shared:object+story"
    with pytest.raises(FitError, match="each once"):
        unique({frozenset(["a"]): 0.3}, ["a", "a"])
