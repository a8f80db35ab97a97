"""Claims about interventions: do a finished model's features help an earlier one, more than random features do?

The published formula is not known: each declared variant and strength is judged on its own. Where the table has effects
of single seeds, they are averaged over layers and seeds are the unit; else the pooled intervals are taken, layer by
layer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from release_kit.sae.claims.estimate import Comparison, over_seeds
from release_kit.sae.claims.judge import StudyClaim, judge

CONTROLS = ("count", "norm")
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
    """Return one comparison over seeds, or one for each layer where only pooled effects are known."""
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
    return [
        _pooled(row, f"{what}, layer {row['layer']}", size, beside, sign)
        for row in sorted(rows, key=lambda row: row["layer"])
    ]  # fmt: skip


def _pooled(row: Row, what: str, size: str, beside: str, sign: int) -> Comparison:
    value, low, high, p = (
        math.nan if row[name] is None else float(row[name]) for name in ("value", "low", "high", "p")
    )
    low, high = (low, high) if sign > 0 else (-high, -low)
    return Comparison(
        what=what, size=size, beside=beside, needed=True, values=(), value=sign * value, low=low, high=high, p=p,
        p_adjusted=p, n_seeds=int(row["n_seeds"]), source="effects",
    )  # fmt: skip
