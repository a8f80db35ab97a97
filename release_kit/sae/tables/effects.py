"""Effects of interventions over seeds and sentences, from the losses of each autoencoder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from release_kit.sae.errors import SaeError
from release_kit.sae.intervene.effects import effects
from release_kit.sae.intervene.run import Losses
from release_kit.sae.measure.write import Recorded
from release_kit.sae.tables.schema import POOLED_SEED

if TYPE_CHECKING:
    import pyarrow as pa

LOSSES = "losses.parquet"
AGAINST: Mapping[str, Sequence[str]] = {"bilingual": ("en", "ja")}
"""Classes that are held against others, beside their random controls."""


def effect_rows(intervened: Sequence[Recorded], n_bootstrap: int) -> Iterator[dict[str, Any]]:
    """Yield the effects of every size, step and layer, of all its seeds together and of each by itself.

    ``seed`` is -1 in rows of all together; intervals of a single seed are over sentences and random draws.

    Args:
        intervened: of the study. n_bootstrap: resamples of an interval.

    Raises:
        SaeError: seeds of one place were intervened on differently.
    """
    places: dict[tuple[str, int, int], list[Recorded]] = {}
    for one in intervened:
        places.setdefault((one.key.size, one.key.step, one.key.layer), []).append(one)
    for (size, step, layer), row in places.items():
        by_seed = [losses_of(one.table(LOSSES)) for one in row]
        for one, losses in zip(row, by_seed, strict=True):
            if (losses.keys, losses.kinds, losses.ids) != (by_seed[0].keys, by_seed[0].kinds, by_seed[0].ids):
                what = f"interventions or sentences are others than those of {row[0].key.title}"
                step_ = "remove the older folder of interventions and run again"
                raise SaeError(what, where=one.key.title, next_step=step_)
        groups = [(POOLED_SEED, by_seed)]
        groups += [(one.key.seed, [losses]) for one, losses in zip(row, by_seed, strict=True)]
        for seed, group in groups:
            head = {"size": size, "step": step, "layer": layer, "seed": seed}
            for effect in effects(group, n_bootstrap=n_bootstrap, against=AGAINST):
                yield {**head, **asdict(effect)}


def losses_of(table: "pa.Table") -> Losses:
    """Return losses from their rows: interventions in the order of rows, each over the same sentences."""
    columns = {name: table.column(name).to_pylist() for name in table.schema.names}
    places = zip(*(columns[name] for name in ("variant", "class", "strength", "control", "draw")), strict=True)
    keys = tuple(dict.fromkeys(places))
    n = table.num_rows // len(keys)
    return Losses(
        keys=keys, nll=np.array(columns["nll"]).reshape(len(keys), n), n_tokens=np.array(columns["n_tokens"][:n]),
        kinds=tuple(columns["kind"][:n]), ids=tuple(columns["sentence"][:n]),
    )  # fmt: skip
