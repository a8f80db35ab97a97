"""From DICOM to BIDS: ours beside dcm2bids and BIDScoin on the same series, whole commands, by turns.

    python benchmarks/bids_peers.py [--volumes 240] [--subjects 4] [--rounds 3] [--peers FOLDER]

The series are made of one real Siemens mosaic (heudiconv's tests, a pinned wheel): copies of it with noise, one file a
volume. Peers are taken from ``--peers`` (the ``bin`` folder of an environment with ``pip install dcm2bids bidscoin
dcm2niix``) or from PATH; one that is not there is left out. Every way starts from nothing. Ours also checks the recipe,
writes all dataset files and digests, and looks for identities; ours are the only bytes that are the same each time.
Nothing else should be running. Reading and compressing alone: ``bids.py``.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from release_kit.core.packages import open_package

RECIPE = """\
schema_version: 1
dataset: {name: Peers, version: 1.0.0, authors: [Ada Example], license: CC0-1.0, description: Made for a comparison.}
subjects: {SUBJECTS}
tasks: {rest: {name: Rest, description: Nothing is shown.}}
stimuli: {}
recordings: {pattern: "sub-{source}", kind: dicom, tr_s: 3.0}
runs: [{task: rest, run: 1}]
"""
DCM2BIDS = {
    "descriptions": [
        {
            "datatype": "func",
            "suffix": "bold",
            "custom_entities": "task-rest",
            "criteria": {"SeriesDescription": "ax_asc_35sl"},
            "sidecar_changes": {"TaskName": "Rest"},
        }
    ]
}


def main() -> int:
    """Run the benchmark and print one JSON object; return 1 when a peer was faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=240)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="bin folder of an environment with dcm2bids and bidscoin")
    options = parser.parse_args()
    if options.peers:
        os.environ["PATH"] = f"{options.peers}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "source", Path(scratch) / "out"
        make_series(source, options.subjects, options.volumes)
        ways: dict[str, Callable[[Path, Path], list[Path]]] = {"release_kit": ours}
        ways |= {"dcm2bids": dcm2bids} if shutil.which("dcm2bids") else {}
        ways |= {"BIDScoin": bidscoin} if shutil.which("bidscoiner") else {}
        walls: dict[str, list[float]] = {name: [] for name in ways}
        cpus: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                wall, cpu = timed(way, source, out, options)
                walls[name].append(wall)
                cpus[name].append(cpu)
    medians = {name: statistics.median(values) for name, values in walls.items()}
    print(
        json.dumps({"volumes": options.volumes, "subjects": options.subjects, "wall s": walls, "CPU s": cpus}, indent=1)
    )
    return int(any(seconds < medians["release_kit"] for seconds in medians.values()))


def make_series(source: Path, n_subjects: int, n: int) -> None:
    """Write ``sub-ABXX/bold/*.dcm``: the real mosaic with noise, one file a volume."""
    scratch = source / "axasc35.dcm"
    source.mkdir()
    scratch.write_bytes(open_package("heudiconv").read("heudiconv/tests/data/axasc35.dcm"))
    data = pydicom.dcmread(scratch)
    pixels, random = data.pixel_array, np.random.default_rng(0)
    for subject in range(1, n_subjects + 1):
        folder = source / f"sub-AB{subject:02d}" / "bold"
        folder.mkdir(parents=True)
        data.SeriesInstanceUID = f"{data.StudyInstanceUID}.{subject}"
        for volume in range(n):
            noise = random.integers(0, 5, pixels.shape).astype(pixels.dtype)
            data.PixelData = np.minimum(pixels + noise, 4095).astype(pixels.dtype).tobytes()
            data.InstanceNumber = data.AcquisitionNumber = volume + 1
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{data.SeriesInstanceUID}.{volume + 1}"
            clock = 13 * 3600 + 3 * volume
            data.AcquisitionTime = data.ContentTime = (
                f"{clock // 3600:02d}{clock // 60 % 60:02d}{clock % 60:02d}.000000"
            )
            data.save_as(folder / f"{volume:04d}.dcm")
    scratch.unlink()


def ours(source: Path, out: Path) -> list[Path]:
    """Run ``release-kit bids convert``."""
    subjects = ", ".join(f'"{path.name[-2:]}": {{source: {path.name[4:]}}}' for path in sorted(source.glob("sub-*")))
    recipe = out / "recipe.yaml"
    recipe.write_text(RECIPE.replace("{SUBJECTS}", f"{{{subjects}}}"), encoding="utf-8")
    command = [sys.executable, "-m", "release_kit", "bids", "convert", str(recipe), str(out / "bids")]
    quietly([*command, "--sources", str(source)])
    return sorted((out / "bids").glob("sub-*/func/*_bold.nii.gz"))


def dcm2bids(source: Path, out: Path) -> list[Path]:
    """Run ``dcm2bids`` for each subject."""
    config = out / "config.json"
    config.write_text(json.dumps(DCM2BIDS), encoding="utf-8")
    for path in sorted(source.glob("sub-*")):
        quietly(["dcm2bids", "-d", str(path), "-p", path.name[4:], "-c", str(config), "-o", str(out / "bids")])
    return sorted((out / "bids").glob("sub-*/func/*_bold.nii.gz"))


def bidscoin(source: Path, out: Path) -> list[Path]:
    """Run ``bidsmapper`` without its editor, then ``bidscoiner``."""
    quietly(["bidsmapper", str(source), str(out / "bids"), "--automated"])
    quietly(["bidscoiner", str(source), str(out / "bids")])
    return sorted((out / "bids").glob("sub-*/*/*.nii.gz"))


def quietly(command: list[str]) -> None:
    """Run a command; what it says is shown only when it fails."""
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}")


def timed(
    way: Callable[[Path, Path], list[Path]], source: Path, out: Path, options: argparse.Namespace
) -> tuple[float, float]:
    """Return wall and CPU seconds of a way that starts from nothing; it must make one image a subject."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    images = way(source, out)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if len(images) != options.subjects:
        sys.exit(f"{way.__name__} made {len(images)} images, expected {options.subjects}: {images}")
    return round(wall, 2), round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


if __name__ == "__main__":
    sys.exit(main())
