"""What encoding analyses recover of a planted truth, in the corrected and in the published way: tables for the docs.

    python benchmarks/encoding_recovery.py recovery --seeds 20     # both modes, synthetic and real noise
    python benchmarks/encoding_recovery.py training --seeds 20     # unique parts with 1, 2, 4 and 8 times the samples
    python benchmarks/encoding_recovery.py coverage --seeds 200    # intervals from few and many blocks

Three titles of three runs of 300 volumes; 20 voxels follow one band, 20 follow two, 160 follow nothing. Features are
smooth over 4 s. A figure is the mean over seeds and half the width of its 95 % interval (Student's t over seeds).
Errors of unique parts are differences of r in mode paper and of R² in mode corrected: they are compared inside a mode.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from release_kit.encoding.simulate.make import simulate
from release_kit.encoding.simulate.noise import read_rest
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec
from release_kit.encoding.simulate.recovery import Recovery, recover

SIGNALS = (
    PlantedRegion(name="speech", n_voxels=20, shares={"speech": 0.15}),
    PlantedRegion(name="both", n_voxels=20, shares={"speech": 0.1, "story": 0.1}),
)
SPEC = SimulationSpec(
    titles={"a": 3, "b": 3, "c": 3},
    n_volumes=300,
    bands={"speech": 4, "story": 6},
    regions=(*SIGNALS, PlantedRegion(name="nothing", n_voxels=160, shares={})),
    smooth_s=4.0,
)
NOISES = {
    "AR(1) .5": {"noise_carry": 0.5},
    "AR(1) .9": {"noise_carry": 0.9},
    "rest, a lag a voxel": {"noise": "real"},
    "rest, a lag a run": {"noise": "real", "noise_lag": "run"},
    "28 regions at rest": {"noise": "real", "n_volumes": 250},
}
BANDS = tuple(SPEC.bands)


def main() -> None:
    """Print a table as Markdown, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("recovery", "training", "coverage"))
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    {"recovery": recovery_table, "training": training_table, "coverage": coverage_table}[options.table](options.seeds)


def recovery_table(n_seeds: int) -> None:
    """Print scores, errors and false positives for each noise, correlation of bands and mode."""
    heads = ("noise", "correlation of bands", "mode", "r (attainable)", "null voxels p < .05", "KS p of null p",
             "false share of called", "false of called", "power",
             *(f"{band}: {what}" for band in BANDS for what in ("error", "against the fitted model")))  # fmt: skip
    header(heads)
    for name, changes in NOISES.items():
        rest = read_rest("nitime" if "n_volumes" in changes else "brainspace") if "noise" in changes else None
        for correlation in (0.0, 0.6):
            spec = replace(SPEC, correlation=correlation, **changes)
            for mode in ("corrected", "paper"):
                found = [
                    recover(simulate(replace(spec, seed=k), real_noise=rest), "01", mode, seed=k, bootstrap=0)
                    for k in range(n_seeds)
                ]
                print(f"| {name} | {correlation:g} | {mode} | {' | '.join(recovery_cells(found))} |", flush=True)


def recovery_cells(found: Sequence[Recovery]) -> list[str]:
    """Return the figures of one line."""
    p = np.concatenate([one.null_p for one in found])
    # p of permutations come in steps: each is spread over its step.
    spread = np.clip(p - np.random.default_rng(0).random(len(p)) / 200, 0, 1)
    cells = [
        f"{np.mean([one.r for one in found]):.3f} ({np.mean([one.attainable_r for one in found]):.3f})",
        figure([one.false_p / one.n_null for one in found], "{:.3f}"),
        f"{stats.kstest(spread, 'uniform').pvalue:.2g}",
        figure([one.false_q / max(one.n_called, 1) for one in found], "{:.3f}"),
        f"{sum(one.false_q for one in found)} / {sum(one.n_called for one in found)}",
        f"{np.mean([one.power for one in found]):.2f}",
    ]
    for band in BANDS:
        cells.append(figure([one.unique_error[band] for one in found]))
        cells.append(figure([one.attained_error[band] for one in found]))
    return cells


def training_table(n_seeds: int) -> None:
    """Print errors of unique parts with more and more training samples."""
    columns = [f"{band}: {what}" for band in BANDS for what in ("error", "against the fitted model", "loss")]
    header(("mode", "noise", "correlation of bands", "training samples", *columns))
    for mode in ("corrected", "paper"):
        for name in ("AR(1) .5", "AR(1) .9"):
            for correlation in (0.0, 0.6):
                for times in (1, 2, 4, 8):
                    spec = replace(SPEC, regions=SIGNALS, correlation=correlation, **NOISES[name])
                    spec = replace(spec, n_volumes=times * SPEC.n_volumes)
                    found = [
                        recover(simulate(replace(spec, seed=k)), "01", mode, permutations=1, bootstrap=0)
                        for k in range(n_seeds)
                    ]
                    cells = []
                    for band in BANDS:
                        errors = np.array([[one.unique_error[band], one.attained_error[band]] for one in found])
                        cells += [figure(errors[:, 0]), figure(errors[:, 1]), figure(errors[:, 0] - errors[:, 1])]
                    line = f"{mode} | {name} | {correlation:g} | {6 * (spec.n_volumes - 20):,} | {' | '.join(cells)}"
                    print(f"| {line} |", flush=True)


def coverage_table(n_seeds: int) -> None:
    """Print how often 95 % intervals hold what the fitted model reaches, by noise and number of blocks."""
    header(("noise", "blocks", "of samples", "voxels", "means of regions"))
    for name in ("AR(1) .5", "AR(1) .9"):
        for n_volumes, block in ((140, 40), (220, 40), (420, 40), (820, 40), (140, 20)):
            spec = replace(SPEC, titles={"a": 3, "b": 3}, regions=SIGNALS, n_volumes=n_volumes, **NOISES[name])
            found = [
                recover(simulate(replace(spec, seed=k)), "01", permutations=1, bootstrap=500, block=block, seed=k)
                for k in range(n_seeds)
            ]
            voxels = figure([np.mean(list(one.coverage.values())) for one in found], "{:.3f}")
            means = figure([np.mean(list(one.mean_coverage.values())) for one in found], "{:.3f}")
            print(f"| {name} | {2 * -(-(n_volumes - 20) // block)} | {block} | {voxels} | {means} |", flush=True)


def figure(values: Sequence[float], form: str = "{:+.4f}") -> str:
    """Return mean and half the width of its interval over seeds."""
    exact = np.asarray(values, float)
    half = stats.t.ppf(0.975, len(exact) - 1) * exact.std(ddof=1) / np.sqrt(len(exact))
    return f"{form.format(exact.mean())} ± {form.format(half).lstrip('+')}"


def header(columns: Sequence[str]) -> None:
    """Print the head of a table."""
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


if __name__ == "__main__":
    main()
