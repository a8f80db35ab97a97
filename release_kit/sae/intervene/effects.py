"""How much an intervention changes losses, beside its random controls, with intervals over sentences and seeds.

An effect is the change of cross-entropy in nats per token (negative: better), weighted by tokens. All interventions are
scored on the same sentences, so every difference is paired.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.sae.intervene.run import BASE, Losses


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One effect with its interval.

    Attributes:
        variant, name, strength: which intervention.
        kind: language or translation that was scored.
        beside: empty: the change itself; ``count``, ``norm``: less the mean change of these random controls; another
            class: less that class's change.
        value, low, high: nats per token; a 95 % interval.
        p: two-sided, of the value 0, from the same resamples; never 0.
        n_seeds, n_sentences: what it rests on.
    """

    variant: str
    name: str
    strength: float
    kind: str
    beside: str
    value: float
    low: float
    high: float
    p: float
    n_seeds: int
    n_sentences: int


def effects(
    by_seed: Sequence[Losses],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
    against: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Effect]:
    """Yield the effect of every intervention in every kind of sentence, plain and beside its controls.

    Seeds are resampled, and sentences, and the draws of random controls. Seeds that were scored on the same sentences
    have the same ones in a resample: what is hard about a sentence is so for all of them.

    Args:
        by_seed: losses of the same interventions for each seed of the autoencoders.
        n_bootstrap: resamples.
        seed: of the resamples.
        against: class → other classes that it is held against too.
    """
    rng = np.random.default_rng([seed, 17])
    first = by_seed[0]
    wanted = [key for key in first.keys if key != BASE and not key[3]]
    for kind in sorted(set(first.kinds)):
        resampled = _Resampled.of(by_seed, kind, n_bootstrap, rng)
        for variant, name, strength, *_ in wanted:
            own = resampled.mean([(variant, name, strength, "", 0)])
            others = {"": np.zeros_like(own)}
            for control in ("count", "norm"):
                draws = [key for key in first.keys if key[:4] == (variant, name, strength, control)]
                if draws:
                    others[control] = resampled.mean(draws)
            for other in (against or {}).get(name, ()):
                if (variant, other, strength, "", 0) in first.keys:
                    others[other] = resampled.mean([(variant, other, strength, "", 0)])
            for beside, values in others.items():
                yield _effect((variant, name, strength), kind, beside, own - values, resampled)


@dataclass(eq=False)
class _Resampled:
    """Effects of one kind of sentence, as measured (first) and in every resample."""

    changes: list[Mapping[tuple, npt.NDArray[np.float64]]]
    """For each seed: intervention → (n_sentences,) change of the sum of losses."""
    n_tokens: list[npt.NDArray[np.float64]]
    seeds: npt.NDArray[np.int64]
    """(n_bootstrap + 1, n_seeds) which seeds; the first row is each once."""
    weights: list[npt.NDArray[np.float64]]
    """For each seed (n_bootstrap + 1, n_sentences): how often a sentence counts."""
    rng: np.random.Generator

    @classmethod
    def of(cls, by_seed: Sequence[Losses], kind: str, n: int, rng: np.random.Generator) -> "_Resampled":
        changes, tokens, weights = [], [], []
        drawn_of: dict[tuple[str, ...], npt.NDArray[np.int64]] = {}
        for losses in by_seed:
            inside = np.array([one == kind for one in losses.kinds])
            ids = tuple(name for name, chosen in zip(losses.ids, inside, strict=True) if chosen)
            base = losses.nll[losses.keys.index(BASE)][inside]
            changes.append({key: losses.nll[k][inside] - base for k, key in enumerate(losses.keys)})
            tokens.append(losses.n_tokens[inside].astype(float))
            size = len(ids)
            if ids not in drawn_of:
                drawn_of[ids] = rng.multinomial(size, np.full(size, 1 / size), size=n)
            weights.append(np.concatenate([np.ones((1, size)), drawn_of[ids]]))
        seeds = rng.integers(0, len(by_seed), size=(n, len(by_seed)))
        return cls(
            changes=changes,
            n_tokens=tokens,
            seeds=np.concatenate([np.arange(len(by_seed))[None], seeds]),
            weights=weights,
            rng=rng,
        )

    def mean(self, keys: Sequence[tuple]) -> npt.NDArray[np.float64]:
        """Return (n_bootstrap + 1,) the mean change per token over these interventions, resampled where several."""
        n = len(self.seeds)
        picked = np.broadcast_to(np.arange(len(keys)), (n, len(keys)))
        if len(keys) > 1:
            picked = np.concatenate([picked[:1], self.rng.integers(0, len(keys), size=(n - 1, len(keys)))])
        by_seed = []
        for changes, tokens, weights in zip(self.changes, self.n_tokens, self.weights, strict=True):
            sums = np.stack([weights @ changes[key] for key in keys], axis=1)
            by_seed.append(np.take_along_axis(sums, picked, axis=1).mean(axis=1) / (weights @ tokens))
        return np.take_along_axis(np.stack(by_seed, axis=1), self.seeds, axis=1).mean(axis=1)


def _effect(
    key: tuple[str, str, float], kind: str, beside: str, values: npt.NDArray[np.float64], resampled: _Resampled
) -> Effect:
    variant, name, strength = key
    measured, drawn = float(values[0]), values[1:]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum()) if len(drawn) else np.nan
    return Effect(
        variant=variant,
        name=name,
        strength=strength,
        kind=kind,
        beside=beside,
        value=measured,
        low=float(low),
        high=float(high),
        p=float(min(1.0, 2 * (1 + tail) / (1 + len(drawn)))) if len(drawn) else float("nan"),
        n_seeds=len(resampled.changes),
        n_sentences=len(resampled.n_tokens[0]),
    )
