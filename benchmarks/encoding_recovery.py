"""What encoding analyses recover of a planted truth, in the corrected and in the published way: a table for the docs.

    python benchmarks/encoding_recovery.py --seeds 5

Three titles of three runs of 300 volumes; 20 voxels follow one band, 20 follow two, 160 follow nothing. Features are
smooth over 4 s. Errors of unique parts are means over seeds and half the width of their 95 % interval (t); in mode
paper they are differences of r, in mode corrected of R², so they are compared inside a mode only.
"""

import argparse
from dataclasses import replace

import numpy as np
from scipy import stats

from release_kit.encoding.simulate.make import simulate
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec
from release_kit.encoding.simulate.recovery import Recovery, recover

REGIONS = (
    PlantedRegion(name="speech", n_voxels=20, shares={"speech": 0.15}),
    PlantedRegion(name="both", n_voxels=20, shares={"speech": 0.1, "story": 0.1}),
    PlantedRegion(name="nothing", n_voxels=160, shares={}),
)
SPEC = SimulationSpec(
    titles={"a": 3, "b": 3, "c": 3}, n_volumes=300, bands={"speech": 4, "story": 6}, regions=REGIONS, smooth_s=4.0
)
HEADER = (
    "correlation of bands", "noise carry", "mode", "r (attainable)", "null voxels p < .05",
    "false of called at FDR .05", "power", "error of unique speech", "error of unique story",
)  # fmt: skip


def main() -> None:
    """Print the table as Markdown, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--volumes", type=int, default=SPEC.n_volumes, help="of a run: more train better")
    options = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
    for correlation in (0.0, 0.6):
        for carry in (0.5, 0.9):
            spec = replace(SPEC, correlation=correlation, noise_carry=carry, n_volumes=options.volumes)
            for mode in ("corrected", "paper"):
                found = [recover(simulate(replace(spec, seed=k)), "01", mode, seed=k) for k in range(options.seeds)]
                print(f"| {correlation:g} | {carry:g} | {mode} | {row(found)} |", flush=True)


def row(found: list[Recovery]) -> str:
    """Return the figures of one line."""
    n_null, n_called = sum(one.n_null for one in found), sum(one.n_called for one in found)
    cells = [
        f"{np.mean([one.r for one in found]):.3f} ({np.mean([one.attainable_r for one in found]):.3f})",
        f"{sum(one.false_p for one in found) / n_null:.3f}",
        f"{sum(one.false_q for one in found)} / {n_called}",
        f"{np.mean([one.power for one in found]):.2f}",
    ]
    for band in SPEC.bands:
        errors = np.array([one.unique_error[band] for one in found])
        half = stats.t.ppf(0.975, len(errors) - 1) * errors.std(ddof=1) / np.sqrt(len(errors))
        cells.append(f"{errors.mean():+.3f} ± {half:.3f}")
    return " | ".join(cells)


if __name__ == "__main__":
    main()
