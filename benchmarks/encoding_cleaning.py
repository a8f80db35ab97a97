"""What cleaning costs unique parts, and what is got back where features are cleaned as responses are: a table.

    python benchmarks/encoding_cleaning.py --seeds 12

The studies of ``encoding_recovery.py``: three titles of three runs of 300 volumes, AR(1) noise; bands correlated by .3.
Errors of R² are against the best model of endless data; a figure is the mean over seeds and half the width of its 95 %
interval. ``running mean`` is the linear filter that is nearest to a running median of noise.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from encoding_recovery import SIGNALS, SPEC, figure, header
from scipy.ndimage import uniform_filter1d

from release_kit.encoding.data.clean import CleanSettings, clean
from release_kit.encoding.data.samples import title_folds
from release_kit.encoding.features.delays import delayed
from release_kit.encoding.partition.sets import Union, unique, unique_unions
from release_kit.encoding.simulate.make import Simulated, simulate
from release_kit.encoding.solve.ridge import fit_ridge
from release_kit.encoding.solve.scores import pearson, r2
from release_kit.encoding.solve.settings import RidgeSettings

DROP, WIDTH = 20, 121
Filter = Callable[[npt.NDArray], npt.NDArray]


def by(detrend: str) -> Filter:
    """Return what cleaning does to one run."""
    return lambda y: clean(y, 1.0, CleanSettings(detrend=detrend))


def running_mean(x: npt.NDArray) -> npt.NDArray:
    """Return one run less its mean and its running mean."""
    centred = x - x.mean(axis=0)
    return centred - uniform_filter1d(centred, WIDTH, axis=0, mode="reflect")


def nothing(x: npt.NDArray) -> npt.NDArray:
    """Return one run as it is."""
    return x


CLEANINGS: Mapping[str, tuple[Filter, Filter]] = {
    "none": (nothing, nothing),
    "responses centred": (by("none"), nothing),
    "responses and features centred": (by("none"), by("none")),
    "responses, median": (by("median"), nothing),
    "responses and features, median": (by("median"), by("median")),
    "responses median, features running mean": (by("median"), running_mean),
    "responses, cosine": (by("cosine"), nothing),
    "responses and features, cosine": (by("cosine"), by("cosine")),
}
Figures = Mapping[str, float]


def main() -> None:
    """Print a table as Markdown, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--noise", type=float, default=0.5, help="coefficient of the AR(1) noise")
    parser.add_argument("--correlation", type=float, default=0.3, help="of the bands")
    parser.add_argument("--times", type=int, default=1, help="as many volumes")
    options = parser.parse_args()
    spec = replace(SPEC, regions=SIGNALS, correlation=options.correlation, noise_carry=options.noise)
    spec = replace(spec, n_volumes=options.times * spec.n_volumes)
    header(("cleaning", "speech: error", "story: error", "all bands: error", "r", "seconds"))
    for name, filters in CLEANINGS.items():
        start = time.perf_counter()
        found = [recovered(simulate(replace(spec, seed=k)), *filters) for k in range(options.seeds)]
        cells = [figure([one[key] for one in found]) for key in ("speech", "story", "all")]
        r = figure([one["r"] for one in found], "{:.4f}")
        print(f"| {name} | {' | '.join(cells)} | {r} | {time.perf_counter() - start:.0f} |", flush=True)


def recovered(made: Simulated, of_responses: Filter, of_features: Filter) -> Figures:
    """Return errors of R² and r over voxels with a signal, of one subject in the corrected mode."""
    spec, samples = made.spec, made.samples
    y = per_run(made, made.responses["01"], of_responses)
    delays = [(spec.delay + step) * spec.tr_s for step in (-1, 0, 1)]
    design = {
        band.name: per_run(made, delayed(band.x, delays, spec.tr_s, samples.borders, "concatenate"), of_features)
        for band in made.bands
    }
    used = samples.volume >= DROP
    train, held = samples.train & used, ~samples.train & used
    folds = title_folds(samples.only(train))
    scores: dict[Union, npt.NDArray] = {}
    whole, r = frozenset(spec.bands), np.zeros(0)
    for union in unique_unions(list(spec.bands)):
        x = np.concatenate([design[name] for name in design if name in union], axis=1)
        fit = fit_ridge(x[train], y[train], folds, RidgeSettings(device="cpu"))
        predicted = fit.predict(x[held])
        scores[union] = r2(y[held], predicted).astype(np.float64)
        r = pearson(y[held], predicted) if union == whole else r
    truth = made.truth("01")
    measured, true = (unique(each, list(spec.bands)) for each in (scores, truth))
    found = {band: float((measured[f"unique:{band}"] - true[f"unique:{band}"]).mean()) for band in spec.bands}
    return {**found, "all": float((scores[whole] - truth[whole]).mean()), "r": float(r.mean())}


def per_run(made: Simulated, values: npt.NDArray, one: Filter) -> npt.NDArray[np.float32]:
    """Return rows of all runs, each filtered by itself."""
    found = np.empty(values.shape, np.float32)
    for part in made.samples.borders:
        found[part] = one(values[part])
    return found


if __name__ == "__main__":
    main()
