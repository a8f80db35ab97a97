"""Effects and verdicts: right on losses that are known, at their nominal rate where there is nothing."""

from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from release_kit.sae.claims.estimate import holm
from release_kit.sae.claims.integration import integration_claims
from release_kit.sae.intervene.effects import effects
from release_kit.sae.intervene.run import BASE, Losses

N_DRAWS = 8


def planted(gain: dict[str, float], *, seed: int = 0, n: int = 150, noise: float = 0.02) -> Losses:
    """Return losses of the classes en, ja, bilingual, each lowered by its gain a token in both languages."""
    rng = np.random.default_rng(seed)
    kinds = ("en",) * n + ("ja",) * n
    tokens = rng.integers(4, 12, size=2 * n)
    base = tokens * (3 + 0.3 * rng.standard_normal(2 * n))
    keys, nll = [BASE], [base]
    for name in ("en", "ja", "bilingual"):
        keys.append(("add", name, 1.0, "", 0))
        nll.append(base - tokens * (gain[name] + noise * rng.standard_normal(2 * n)))
        for control in ("count", "norm"):
            for draw in range(N_DRAWS):
                keys.append(("add", name, 1.0, control, draw))
                nll.append(base - tokens * (gain["random"] + noise * rng.standard_normal(2 * n)))
    ids = tuple(f"p{k % n}" for k in range(2 * n))
    return Losses(keys=tuple(keys), nll=np.stack(nll), n_tokens=tokens, kinds=kinds, ids=ids)


def measured(gain: dict[str, float], seeds: int = 3) -> list:
    runs = [planted(gain, seed=seed) for seed in range(seeds)]
    return list(effects(runs, n_bootstrap=400, against={"bilingual": ("en", "ja")}))


def test_effects_are_what_was_planted_inside_their_intervals():
    found = measured({"en": 0.1, "ja": 0.2, "bilingual": 0.3, "random": 0.05})
    known = {"": 0.0, "count": 0.05, "norm": 0.05, "en": 0.1, "ja": 0.2}
    gain = {"en": 0.1, "ja": 0.2, "bilingual": 0.3}
    assert len(found) == 2 * (3 * 3 + 2)
    for one in found:
        expected = -(gain[one.name] - known[one.beside])
        assert one.value == pytest.approx(expected, abs=0.01), one
        assert one.low < one.value < one.high and one.n_seeds == 3 and one.n_sentences == 150
        assert 0 < one.p <= 0.05


def test_differences_of_nothing_are_called_at_the_nominal_rate():
    p = []
    for seed in range(120):
        run = planted({"en": 0.1, "ja": 0.1, "bilingual": 0.1, "random": 0.1}, seed=100 + seed, n=60)
        found = effects([run], n_bootstrap=200, seed=seed, against={"bilingual": ("en",)})
        p += [one.p for one in found if one.beside == "en"]
    share = float(np.mean(np.array(p) <= 0.05))
    assert len(p) == 240 and share < 0.10, "4 standard errors above .05"


def test_intervals_widen_where_seeds_disagree():
    agree = [planted({"en": 0, "ja": 0, "bilingual": 0.1, "random": 0}, seed=seed) for seed in range(3)]
    differ = [planted({"en": 0, "ja": 0, "bilingual": g, "random": 0}, seed=s) for s, g in enumerate((0.0, 0.1, 0.2))]
    widths = []
    for runs in (agree, differ):
        one = next(e for e in effects(runs, n_bootstrap=400) if (e.name, e.beside, e.kind) == ("bilingual", "", "en"))
        widths.append(one.high - one.low)
    assert widths[1] > 5 * widths[0]


def test_more_seeds_on_the_same_sentences_make_sentences_no_surer():
    one = planted({"en": 0, "ja": 0, "bilingual": 0.1, "random": 0}, noise=0.2)
    other = replace(one, ids=tuple(f"other-{name}" for name in one.ids))
    widths = []
    for runs in ([one], [one, one, one], [one, other, replace(other, ids=tuple(f"third-{i}" for i in other.ids))]):
        found = next(e for e in effects(runs, n_bootstrap=800) if (e.name, e.beside, e.kind) == ("bilingual", "", "en"))
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.12)
    assert widths[2] == pytest.approx(widths[0] * np.sqrt(5 / 9), rel=0.12), "three seeds drawn from three with return"


@pytest.mark.parametrize(
    ("gain", "verdicts"),
    [
        ({"en": 0.1, "ja": 0.1, "bilingual": 0.3, "random": 0.05}, ("reproduced", "reproduced", "reproduced")),
        (
            {"en": 0.3, "ja": 0.1, "bilingual": 0.2, "random": 0.25},
            ("not reproduced", "not reproduced", "not reproduced"),
        ),
        ({"en": 0.1, "ja": 0.1, "bilingual": 0.1, "random": 0.1}, ("cannot be told",) * 3),
    ],
)
def test_verdicts_follow_from_what_was_planted(gain: dict, verdicts: tuple[str, ...]):
    rows = [
        {"size": "small", "step": 8, "layer": 1, "seed": seed, **asdict(one)}
        for seed in range(4)
        for one in effects([planted(gain, seed=seed)], n_bootstrap=10, against={"bilingual": ("en", "ja")})
    ]
    claims = integration_claims(rows, ("small",), ("en", "ja"))
    assert tuple(claim.verdict for claim in claims) == verdicts, [claim.why for claim in claims]
    assert all("Holm" in claim.why for claim in claims)


def test_a_claim_without_any_measurement_cannot_be_told():
    (claim,) = integration_claims([], ("small",), ("en", "ja"))
    assert claim.verdict == "cannot be told" and "interventions" in claim.why


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 30):
        p = rng.random(n) ** 3
        np.testing.assert_allclose(holm(p.tolist()), multipletests(p, method="holm")[1])
    ordered = holm(sorted(rng.random(9)))
    assert all(a <= b for a, b in pairwise(ordered))
