"""Claims about interventions: do a finished model's features help an earlier one, more than random features do?

The published formula is not known: each declared variant and strength is judged on its own. Effects are averaged
over layers. Where the table has those of single seeds, seeds are the unit; else pooled intervals are widened to what so
few seeds can tell.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from release_kit.sae.claims.estimate import Comparison, over_seeds, rounded
from release_kit.sae.claims.judge import StudyClaim, judge

CONTROLS = ("count", "norm")
_NORMAL = 1.959964
"""Standard errors from the middle to an end of a 95 % interval."""
_WORDS = {"count": "random features (count)", "norm": "random features (norm)"}
Row = Mapping[str, Any]


def integration_claims(rows: Sequence[Row], sizes: Sequence[str], languages: tuple[str, str]) -> list[StudyClaim]:
    """Return the claims about integration and ablation, for each variant and strength that was run.

    Args:
        rows: of the table of effects. sizes: of models, the smallest first. languages: codes, which name classes too.
    """
    found = []
    for variant, strength in sorted({(row["variant"], row["strength"]) for row in rows}):
        mine = [row for row in rows if (row["variant"], row["strength"]) == (variant, strength)]
        detail = f"{variant}, strength {strength:g}"
        both = [row for row in mine if row["name"] == "bilingual" and row["kind"] in languages]
        own = [row for row in mine if row["name"] == row["kind"]]
        if variant == "ablate":
            text = "Without its bilingual features a model loses more, in both languages, than without random ones."
            found.append(_claim("bilingual-needed", text, detail, both, CONTROLS, sizes, sign=1))
            continue
        text = "A finished model's bilingual features help an earlier one in both languages more than random ones."
        found.append(_claim("bilingual-helps", text, detail, both, CONTROLS, sizes))
        text = "Bilingual features help in both languages more than the features of either language do."
        found.append(_claim("bilingual-beyond-one", text, detail, both, languages, sizes))
        text = "Features of one language help in that language more than random ones."
        found.append(_claim("each-its-own", text, detail, own, CONTROLS, sizes))
    if not found:
        text = "A finished model's bilingual features help an earlier one in both languages more than random ones."
        found.append(judge("bilingual-helps", text, "loss", [], lacking=["interventions"]))
    return found


def _claim(
    name: str, text: str, detail: str, rows: Sequence[Row], beside: Sequence[str], sizes: Sequence[str], sign: int = -1
) -> StudyClaim:
    """Judge a claim from the effects beside each of some controls; every one is needed."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        if row["beside"] in beside:
            key = (sizes.index(row["size"]), row["step"], row["name"], row["kind"], row["beside"])
            groups.setdefault(key, []).append(row)
    lacking = [
        f"effects beside {_WORDS.get(other, other)}" for other in beside
        if not any(key[4] == other for key in groups)
    ]  # fmt: skip
    comparisons = [
        one for key, own in sorted(groups.items())
        for one in _compare(own, sizes[key[0]], key[1], key[2], key[3], key[4], sign)
    ]  # fmt: skip
    return judge(name, text, "loss", comparisons, detail=detail, lacking=lacking)


def _compare(
    rows: Sequence[Row], size: str, step: int, name: str, kind: str, beside: str, sign: int
) -> list[Comparison]:
    """Return the comparison over seeds, or over what is known of all seeds together."""
    gain = "lower" if sign < 0 else "higher"
    what, beside = (
        f"{gain} loss in {kind} with {name} features at step {step}",
        _WORDS.get(beside, f"{beside} features"),
    )
    single = [row for row in rows if row["seed"] >= 0]  # others rest on all seeds together
    if single:
        layers = sorted({row["layer"] for row in single})
        by_seed: dict[int, dict[int, float]] = {}
        for row in single:
            by_seed.setdefault(row["seed"], {})[row["layer"]] = sign * row["value"]
        values = [np.mean([own.get(layer, np.nan) for layer in layers]) for _, own in sorted(by_seed.items())]
        return [over_seeds(f"{what}, mean of layers", size, beside, values, source="effects")]
    return [_pooled(rows, f"{what}, mean of layers", size, beside, sign)]


def _pooled(rows: Sequence[Row], what: str, size: str, beside: str, sign: int) -> Comparison:
    """Return the mean of pooled effects over layers with a t interval.

    The standard error of a layer is that of its bootstrap interval, times sqrt(n / (n - 1)) as n seeds resampled vary
    by that much too little. Layers share seeds: their errors are taken to go together, which is the worst case.
    """
    from scipy.special import stdtr, stdtrit

    n = min(int(row["n_seeds"]) for row in rows)
    value = sign * float(np.mean([_number(row["value"]) for row in rows]))
    width = float(np.mean([_number(row["high"]) - _number(row["low"]) for row in rows]))
    reach, p = math.nan, math.nan
    if n > 1 and width > 0:
        error = width / (2 * _NORMAL) * math.sqrt(n / (n - 1))
        reach, p = float(stdtrit(n - 1, 0.975)) * error, max(float(2 * stdtr(n - 1, -abs(value) / error)), 1e-300)
    return Comparison(
        what=what, size=size, beside=beside, needed=True, values=(), value=rounded(value), low=rounded(value - reach),
        high=rounded(value + reach), p=rounded(p), p_adjusted=rounded(p), n_seeds=n, source="effects",
    )  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
