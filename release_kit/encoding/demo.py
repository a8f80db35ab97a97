"""The study that ``release-kit encoding demo`` analyses: made-up films, real models, a real surface, a planted truth.

Writes a BIDS dataset with three levels of annotation and, as a derivative, responses of three people on the vertices of
fsaverage5. In four regions the responses follow features of one level (or two) six seconds later; everywhere else they
are noise. ``PLANTED`` is what an analysis must find.
"""

import gzip
import io
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core.files import write_atomic
from release_kit.core.packages import installed_package
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.features.pca import fit_pca
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.store import feature_files
from release_kit.encoding.features.texts import BinnedTexts, bin_stimuli

MARK = "DEMO.txt"
"""Says that a folder is the demo's, so that nobody's study is taken for one."""
SUBJECTS = ("01", "02", "03")
N_RUNS, N_VOLUMES, OVERLAP_S, DELAY_S = 3, 100, 10, 6
FILM_S = N_VOLUMES + (N_RUNS - 1) * (N_VOLUMES - OVERLAP_S)
LEVELS: Mapping[str, int] = {"speech": 2, "object": 3, "story": 5}
"""Level → seconds that one annotation lasts."""
PLANTED: Mapping[str, tuple[tuple[tuple[int, int, int], ...], Mapping[str, float]]] = {
    "auditory": (((56, -18, 5),), {"speech": 0.35}),
    "occipital": (((40, -74, -8),), {"object": 0.35}),
    "precuneus": (((6, -60, 36),), {"story": 0.35}),
    "angular": (((46, -60, 30),), {"object": 0.2, "story": 0.2}),
}
"""Region → where its centres lie (mm, right hemisphere; mirrored on the left), level → share of variance planted."""
RADIUS_MM = 14.0
STORY_LAYER, OBJECT_LAYER = 20, 6
N_COMPONENTS, CARRY = 10, 0.4

Say = Callable[[str], None]


def write_demo_study(folder: Path, smollm2: Path, minilm: Path, say: Say = lambda text: None) -> Path:
    """Write dataset, regions and ``encoding.yaml`` into ``folder`` and return the file; what is there is kept.

    Args:
        folder: of the demo.
        smollm2: folder of SmolLM2-135M; must be ``folder/models/SmolLM2-135M-Instruct``.
        minilm: folder of all-MiniLM-L6-v2; must be ``folder/models/all-MiniLM-L6-v2``.
        say: told what is done.

    Raises:
        MissingExtraError: nilearn or nibabel is not installed.
    """
    write_atomic(folder / MARK, b"Made by `release-kit encoding demo`; `--fresh` throws this folder away.\n")
    file = folder / "encoding.yaml"
    if not file.is_file():
        write_atomic(file, files("release_kit.encoding").joinpath("demo_study", "encoding.yaml").read_bytes())
    if (folder / "dataset" / "README").is_file():
        return file
    root = folder / "dataset"
    _describe(root)
    texts = _films()
    _write_annotations(root, texts)
    runs = _runs()
    say("latents of the annotations that responses will follow")
    signals = _signals(root, runs, smollm2, minilm, folder / "features")
    surface = _surface()
    regions = _regions(surface)
    say(f"responses of {len(SUBJECTS)} people on {len(surface['coordinates']):,} vertices of fsaverage5")
    _write_responses(root, runs, signals, surface, regions)
    inside = np.cumsum(surface["cortex"]) - 1  # the place of each vertex among those that are analysed
    rows = [(int(inside[vertex]), name) for name, chosen in regions.items() for vertex in np.flatnonzero(chosen)]
    lines = "".join(f"{voxel}\t{name}\n" for voxel, name in sorted(rows))
    write_atomic(folder / "regions.tsv", f"voxel\tregion\n{lines}".encode())
    # Written last: it says that the dataset is complete.
    write_atomic(root / "README", _README.encode())
    return file


def _films() -> dict[str, dict[str, list[str]]]:
    """Return title → level → the text of every annotation in order."""
    shipped = json.loads(files("release_kit.encoding").joinpath("demo_study", "films.json").read_text("utf-8"))
    found: dict[str, dict[str, list[str]]] = {}
    for k, title in enumerate(shipped["titles"]):
        found[title] = {}
        for n, (level, seconds) in enumerate(LEVELS.items()):
            rng = np.random.default_rng([21, k, n])
            found[title][level] = [_sentence(shipped, level, rng) for _ in range(-(-FILM_S // seconds))]
    return found


def _sentence(shipped: Mapping[str, Any], level: str, rng: np.random.Generator) -> str:
    name, rival = rng.choice(len(shipped["names"]), 2, replace=False)
    noun, other = rng.choice(len(shipped["nouns"]), 2, replace=False)
    text = shipped[level][rng.integers(len(shipped[level]))].format(
        name=shipped["names"][name], rival=shipped["names"][rival], noun=shipped["nouns"][noun],
        other=shipped["nouns"][other], place=shipped["places"][rng.integers(len(shipped["places"]))],
    )  # fmt: skip
    return text[0].upper() + text[1:]


def _runs() -> tuple[RunInfo, ...]:
    titles = json.loads(files("release_kit.encoding").joinpath("demo_study", "films.json").read_text("utf-8"))["titles"]
    step = N_VOLUMES - OVERLAP_S
    return tuple(
        RunInfo(subject="01", session=None, task=title, run=f"{n + 1:02d}", title=title, stim_id=title,
                n_volumes=N_VOLUMES, tr_s=1.0, stim_start_s=float(n * step), overlap_s=OVERLAP_S if n else 0.0)
        for title in titles
        for n in range(N_RUNS)
    )  # fmt: skip


def _signals(
    root: Path, runs: tuple[RunInfo, ...], smollm2: Path, minilm: Path, store: Path
) -> dict[str, dict[str, npt.NDArray]]:
    """Return level → stimulus → (n_seconds, n_components) features that responses follow, each of variance 1.

    The features go to the store of the analysis: it finds them there.
    """
    from release_kit.encoding.data.bids_annotations import read_bids_annotations

    table = read_bids_annotations(root)
    chosen = {
        "speech": (FeatureSpec(name="speech-words", kind="bag-of-words", level="speech"), 0),
        "object": (FeatureSpec(name="object-minilm", kind="encoder", level="object", model=minilm, layers=(0, 3, 6)),
                   OBJECT_LAYER),
        "story": (FeatureSpec(name="story-smollm2", kind="causal", level="story", model=smollm2,
                              layers=(0, 10, 20, 30)), STORY_LAYER),
    }  # fmt: skip
    found = {}
    for level, (spec, layer) in chosen.items():
        binned = bin_stimuli(table, runs, spec)
        made = feature_files(spec, binned, store, train_bins=_everything(binned)).by_stimulus(layer)
        rows = np.concatenate([made[name] for name in sorted(made)])
        pca = fit_pca(rows, N_COMPONENTS)
        reduced = {name: pca.apply(array) for name, array in made.items()}
        spread = np.concatenate(list(reduced.values())).std(axis=0)
        found[level] = {name: array / spread for name, array in reduced.items()}
    return found


def _everything(binned: tuple[BinnedTexts, ...]) -> dict[str, npt.NDArray[np.bool_]]:
    return {each.stim_id: np.ones(each.n_bins, bool) for each in binned}


def _surface() -> dict[str, npt.NDArray]:
    """Return the coordinates (mm) of every vertex of fsaverage5, left then right, and which of them are cortex."""
    import nibabel

    package = installed_package("nilearn", "encoding")
    parts: dict[str, list[npt.NDArray]] = {"coordinates": [], "cortex": []}
    for side in ("left", "right"):
        pial, thickness = (
            nibabel.GiftiImage.from_bytes(
                gzip.decompress(package.read(f"nilearn/datasets/data/fsaverage5/{name}_{side}.gii.gz"))
            )
            for name in ("pial", "thick")
        )
        parts["coordinates"].append(np.asarray(pial.darrays[0].data, np.float64))
        # The medial wall has no cortex, hence no thickness.
        parts["cortex"].append(np.asarray(thickness.darrays[0].data) > 0)
    return {name: np.concatenate(found) for name, found in parts.items()}


def _regions(surface: Mapping[str, npt.NDArray]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return region → (n_vertices,) bool: cortex within a radius of its centres in either hemisphere."""
    found = {}
    for name, (centres, _) in PLANTED.items():
        both = [centre for x, y, z in centres for centre in ((x, y, z), (-x, y, z))]
        distance = np.min([np.linalg.norm(surface["coordinates"] - centre, axis=1) for centre in both], axis=0)
        found[name] = (distance <= RADIUS_MM) & surface["cortex"]
    return found


def _write_responses(
    root: Path,
    runs: tuple[RunInfo, ...],
    signals: Mapping[str, Mapping[str, npt.NDArray]],
    surface: Mapping[str, npt.NDArray],
    regions: Mapping[str, npt.NDArray[np.bool_]],
) -> None:
    n_vertices, half = len(surface["cortex"]), len(surface["cortex"]) // 2
    share = {level: np.zeros(n_vertices) for level in LEVELS}
    for name, inside in regions.items():
        for level, part in PLANTED[name][1].items():
            share[level][inside] = part
    noise_share = 1 - sum(share.values())
    for k, subject in enumerate(SUBJECTS):
        folder = root / "derivatives/responses" / f"sub-{subject}"
        for hemi, part in (("L", slice(0, half)), ("R", slice(half, None))):
            name = f"sub-{subject}_hemi-{hemi}_mask.shape.gii"
            mask = surface["cortex"][part][None].astype(np.float32)
            write_atomic(root / "derivatives/responses" / name, _gifti(mask, "NIFTI_INTENT_NONE"))
        for n, run in enumerate(runs):
            stem = f"sub-{subject}_{run.name}"
            rows = run.stim_start_s + np.arange(N_VOLUMES) - DELAY_S
            seen = rows >= run.stim_start_s
            values = _noise(np.random.default_rng([22, k, n]), n_vertices) * np.sqrt(noise_share)
            for m, (level, of_film) in enumerate(signals.items()):
                weights = np.random.default_rng([23, m]).standard_normal((N_COMPONENTS, n_vertices))
                weights *= np.sqrt(share[level]) / np.linalg.norm(weights, axis=0)
                values[seen] += of_film[run.stim_id][rows[seen].astype(int)] @ weights
            values[:, ~surface["cortex"]] = 0
            for hemi, part in (("L", slice(0, half)), ("R", slice(half, None))):
                name = f"{stem}_hemi-{hemi}_space-fsaverage5_bold.func.gii"
                data = _gifti(values[:, part].astype(np.float32), "NIFTI_INTENT_TIME_SERIES")
                write_atomic(folder / "func" / name, data, durable=False)
            write_atomic(root / f"sub-{subject}/func/{stem}_events.tsv", _events(run))


def _noise(rng: np.random.Generator, n_vertices: int) -> npt.NDArray[np.float64]:
    """Return (n_volumes, n_vertices) AR(1) noise of variance 1."""
    values = rng.standard_normal((N_VOLUMES, n_vertices), np.float32)
    step = np.sqrt(1 - CARRY**2)
    for row in range(1, N_VOLUMES):
        values[row] = CARRY * values[row - 1] + step * values[row]
    return values.astype(np.float64)


def _gifti(values: npt.NDArray[np.float32], intent: str) -> bytes:
    """Return the bytes of a GIFTI file, an array a row; no date and no name in it."""
    import nibabel

    # Not compressed: noise does not shrink, and compressing it takes longer than everything else here.
    arrays = [nibabel.gifti.GiftiDataArray(row, intent=intent, encoding="B64BIN") for row in values]
    stream = io.BytesIO()
    nibabel.gifti.GiftiImage(darrays=arrays).to_stream(stream)
    return stream.getvalue()


def _events(run: RunInfo) -> bytes:
    end = run.stim_start_s + N_VOLUMES
    rows = [f"0\t{N_VOLUMES}\tstimulus\tstim-{run.stim_id}\t{run.stim_start_s:g}\t{end:g}"]
    if run.overlap_s:
        rows.append(
            f"0\t{OVERLAP_S}\toverlap\tstim-{run.stim_id}\t{run.stim_start_s:g}\t{run.stim_start_s + OVERLAP_S:g}"
        )
    return "\n".join(["onset\tduration\ttrial_type\tstim_id\tstim_start\tstim_end", *rows, ""]).encode()


def _write_annotations(root: Path, texts: Mapping[str, Mapping[str, list[str]]]) -> None:
    stimuli = "".join(f"stim-{title}\n" for title in texts)
    write_atomic(root / "stimuli/stimuli.tsv", f"stimulus_id\n{stimuli}".encode())
    rows = "".join(f"{level}A01\t{level}\tA01\ten\n" for level in LEVELS)
    write_atomic(root / "stimuli/annotations.tsv", f"annot_id\tlevel\tannotator_id\tlanguage\n{rows}".encode())
    for title, levels in texts.items():
        for level, said in levels.items():
            step = LEVELS[level]
            lines = "".join(f"{k * step}\t{step}\t{text}\n" for k, text in enumerate(said))
            path = root / f"stimuli/stim-{title}_annot-{level}A01_events.tsv"
            write_atomic(path, f"onset\tduration\ttext\n{lines}".encode())


def _describe(root: Path) -> None:
    whole = {"Name": "Three made-up films", "BIDSVersion": "1.11.1", "DatasetType": "raw", "License": "CC0-1.0"}
    made_by = [{"Name": "release_kit encoding demo", "Description": "Simulated: no person was measured."}]
    derived = {**whole, "Name": "Simulated responses", "DatasetType": "derivative", "GeneratedBy": made_by}
    for path, value in ((root, whole), (root / "derivatives/responses", derived)):
        write_atomic(path / "dataset_description.json", (json.dumps(value, indent=1) + "\n").encode())
    for run in _runs():
        sidecar = {"TaskName": run.task, "RepetitionTime": 1.0}
        write_atomic(root / f"task-{run.task}_bold.json", (json.dumps(sidecar) + "\n").encode())


_README = """Three made-up films, watched by nobody.

The annotations were put together by a program, the responses are simulated on the fsaverage5 surface: in four regions
they follow features of the annotations six seconds later, elsewhere they are noise. The dataset shows that an analysis
finds what was planted, and nothing else.
"""
