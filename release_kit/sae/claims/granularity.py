"""What kind bilingual features are: shares without a granularity, and of concepts and synonyms, as arrays."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from release_kit.sae.claims.curves import Array, Curves

if TYPE_CHECKING:
    import pyarrow as pa

NOTHING = ("none",)
MEANING = ("concept", "synonym")


def kind_shares(features: "pa.Table", curves: Mapping[str, Curves], kinds: tuple[str, ...]) -> dict[str, Array]:
    """Return size → (n_seeds, n_steps, n_layers) share of the bilingual features that are of some kinds.

    Args:
        features: the table; an empty granularity is none that was looked for, and is left out.
        curves: size → whose axes are taken. kinds: granularities.
    """
    import pyarrow.compute as pc

    looked_at = features.filter(
        pc.and_(pc.equal(features["class"], "bilingual"), pc.not_equal(features["granularity"], ""))
    )
    key = ["size", "step", "layer", "seed", "granularity"]
    counts = looked_at.select(key).group_by(key).aggregate([([], "count_all")]).to_pylist()
    found = {size: np.zeros((2, *own.real.shape)) for size, own in curves.items()}
    for row in counts:
        own = curves.get(row["size"])
        if own is None:
            continue
        place = own.seeds.index(row["seed"]), own.steps.index(row["step"]), own.layers.index(row["layer"])
        found[row["size"]][(0, *place)] += row["count_all"] * (row["granularity"] in kinds)
        found[row["size"]][(1, *place)] += row["count_all"]
    return {
        size: np.divide(some, of, out=np.full(of.shape, np.nan), where=of > 0) for size, (some, of) in found.items()
    }
