"""Claims about where bilingual features are: in the middle layers, in larger models more of them and earlier, and of
what kind they are at the end."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from release_kit.sae.claims.curves import (
    NEEDED_NULLS,
    Array,
    Curves,
    layer_parts,
    onsets,
    weights_at,
    weights_of_layers,
)
from release_kit.sae.claims.estimate import Comparison, over_seeds
from release_kit.sae.claims.judge import StudyClaim, judge
from release_kit.sae.claims.training import FEWEST_STEPS, beyond_nulls, lacks


def layer_claim(curves: Mapping[str, Curves], by: str) -> StudyClaim:
    """Return the claim about middle layers at the last step: above early ones, and above late ones.

    Args:
        curves: size → shares. by: count or mass.
    """
    lacking, found = lacks(curves), []
    for size, own in curves.items():
        early, middle, late = layer_parts(own.layers)
        if not middle:
            lacking.append(f"three layers of {size} (there are {len(own.layers)})")
            continue
        for name, others in (("early", early), ("late", late)):
            weights = weights_of_layers(own, middle) - weights_of_layers(own, others)
            what = f"layers {_layers(own, middle)} less {name} ones ({_layers(own, others)}) at step {own.steps[-1]}"
            found += beyond_nulls(own, size, what, weights)
    text = "At the end the middle layers have the largest share of bilingual features."
    return judge("middle-layers", text, by, found, lacking=lacking)


def size_claims(curves: Mapping[str, Curves], by: str) -> list[StudyClaim]:
    """Return the claims about larger models: more bilingual features at the end, and earlier.

    Args:
        curves: size → shares, the smallest first. by: count or mass.
    """
    lacking = lacks(curves)
    if len(curves) < 2:
        lacking.append("two sizes")
    few = [f"{FEWEST_STEPS} trained steps of {size}" for size, own in curves.items() if len(own.trained) < FEWEST_STEPS]
    more: list[Comparison] = []
    earlier: list[Comparison] = []
    for small, large in pairwise(curves):
        more += _more(curves, small, large)
        earlier += [] if few else _earlier(curves, small, large)
    return [
        judge("larger-more", "Larger models have more bilingual features at the end.", by, more, lacking=lacking),
        judge("larger-earlier", "In larger models features become bilingual earlier: half of the rise is made sooner.",
              by, earlier, lacking=[*lacking, *few]),
    ]  # fmt: skip


def _more(curves: Mapping[str, Curves], small: str, large: str) -> list[Comparison]:
    one, two = curves[small], curves[large]
    places = _shared(one.seeds, two.seeds)
    what, sizes = f"share at step {two.steps[-1]}", f"{large} - {small}"

    def difference(null: str = "") -> Array:
        ends = [own.contrast(weights_at(own, len(own.steps) - 1), null) for own in (one, two)]
        return ends[1][places[1]] - ends[0][places[0]]

    found = [over_seeds(what, sizes, "", difference())]
    for null in one.nulls:
        if null in two.nulls:
            beyond = difference() - difference(null)
            found.append(over_seeds(what, sizes, null, beyond, needed=null in NEEDED_NULLS))
    return found


def _earlier(curves: Mapping[str, Curves], small: str, large: str) -> list[Comparison]:
    """Compare log2 of the steps of half the rise; shares less a null's, for the needed nulls that change over steps."""
    one, two = curves[small], curves[large]
    places = _shared(one.seeds, two.seeds)
    what, sizes = "log2 of the step of half the rise", f"{small} - {large}"
    found = []
    for null in ("", *(null for null in NEEDED_NULLS if null in one.nulls and null in two.nulls)):
        if null == "random-model":
            continue  # it is the same at every step: the half of the way stays where it is
        values = onsets(one, null)[places[0]] - onsets(two, null)[places[1]]
        found.append(over_seeds(what, sizes, null, values))
    return found


def kind_claim(curves: Mapping[str, Curves], meaning: Mapping[str, Array]) -> StudyClaim:
    """Return the claim that bilingual features at the end stand for meanings rather than tokens or nothing.

    Args:
        curves: size → shares by count. meaning: size → (n_seeds, n_steps, n_layers) share of bilingual features that
            are concepts or synonyms by the automatic rule; NaN where it was not measured.
    """
    lacking = [] if curves else ["shares of bilingual features"]
    found = []
    for size, own in curves.items():
        shares = meaning.get(size)
        if shares is None or not np.isfinite(shares).any():
            lacking.append(f"granularity of features of {size}")
            continue
        means = shares.mean(axis=2)
        first = own.trained[0] if own.trained else 0
        what = f"share of bilingual features that are concepts or synonyms, step {own.steps[-1]} less step"
        found.append(over_seeds(f"{what} {own.steps[first]}", size, "", means[:, -1] - means[:, first],
                                source="features"))  # fmt: skip
        if own.steps[0] == 0:
            found.append(over_seeds(f"{what} 0", size, "", means[:, -1] - means[:, 0], source="features"))
        else:
            lacking.append(f"the null random-model of {size}")
    text = "At the end more bilingual features stand for concepts than at first, and than without training."
    return judge("concepts-last", text, "count", found, lacking=lacking)


def _shared(one: Sequence[int], two: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return places of the seeds that both have."""
    both = [seed for seed in one if seed in two]
    return [list(one).index(seed) for seed in both], [list(two).index(seed) for seed in both]


def _layers(curves: Curves, places: Sequence[int]) -> str:
    names = [curves.layers[k] for k in places]
    return str(names[0]) if len(names) == 1 else f"{names[0]} to {names[-1]}"
