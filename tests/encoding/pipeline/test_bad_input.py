"""Inputs that cannot be analysed are named with run and level, all at once, before anything is made."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cli_in_process import release_kit
from encoding_data_factory import nifti
from encoding_features_factory import write_text_model
from encoding_study_factory import ANALYSIS, N_VOLUMES, SHAPE, TITLES, write_study

from release_kit.encoding.data.problems import DataError
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.pipeline.check import check_analysis
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.spec.read import read_analysis


def sentences(folder: Path) -> list[str]:
    return [problem.sentence() for problem in check_analysis(read_analysis(folder)).problems]


def responses(folder: Path, run: str) -> Path:
    return next((folder / "dataset/derivatives/clean/sub-01").rglob(f"*{run}_space*.nii.gz"))


def annotation(folder: Path, film: str, level: str) -> Path:
    return folder / f"dataset/stimuli/stim-{film}_annot-{level}A01_events.tsv"


def lack_a_level(folder: Path) -> None:
    annotation(folder, "glee", "object").write_text("onset\tduration\ttext\n0\t1\tdoor\n")


def break_an_annotation(folder: Path) -> None:
    path = annotation(folder, "crown", "story")
    path.write_text(path.read_text().replace("3\t1\t", "three\t1\t", 1))


def make_an_annotation_binary(folder: Path) -> None:
    annotation(folder, "suits", "object").write_bytes(bytes(range(256)) * 4)


def write_an_annotation_in_another_encoding(folder: Path) -> None:
    annotation(folder, "suits", "object").write_bytes("onset\tduration\ttext\n0\t1\tT\u00fcr\n".encode("latin-1"))


def lack_a_column(folder: Path) -> None:
    annotation(folder, "glee", "story").write_text("onset\ttext\n0\tlove\n")


def end_an_annotation_before_its_run(folder: Path) -> None:
    path = annotation(folder, "glee", "story")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: 1 + N_VOLUMES]))


def truncate_a_recording(folder: Path) -> None:
    path = responses(folder, "task-suits_run-02")
    path.write_bytes(path.read_bytes()[:200])


def shorten_a_recording(folder: Path) -> None:
    values = np.zeros((*SHAPE, N_VOLUMES - 20), np.float32)
    nifti(responses(folder, "task-crown_run-02"), values)


def hold_a_run_still(folder: Path) -> None:
    """Every voxel has a value of its own, and keeps it."""
    still = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(*SHAPE, 1)
    nifti(responses(folder, "task-glee_run-02"), np.repeat(still, N_VOLUMES, axis=-1))


def copy_a_run_over_another(folder: Path) -> None:
    one, other = responses(folder, "task-crown_run-01"), responses(folder, "task-suits_run-02")
    other.write_bytes(one.read_bytes())


def change_a_tr(folder: Path) -> None:
    nifti(responses(folder, "task-glee_run-01"), np.zeros((*SHAPE, N_VOLUMES), np.float32), tr_s=2.0)


def write_a_mask_of_another_shape(folder: Path) -> None:
    nifti(folder / "dataset/mask.nii.gz", np.ones((2, 2, 2), np.uint8))
    file = folder / "encoding.yaml"
    file.write_text(file.read_text().replace("space: MNI}", "space: MNI, mask: mask.nii.gz}"))


def name_a_voxel_that_there_is_not(folder: Path) -> None:
    (folder / "regions.tsv").write_text("voxel\tregion\n3\tstory\n40\tstory\n")


def name_a_model_that_there_is_not(folder: Path) -> None:
    file = folder / "encoding.yaml"
    lm = "{level: story, kind: causal, model: models/lm}"
    file.write_text(file.read_text().replace("{level: story, kind: bag-of-words}", lm))


def take_one_level_twice(folder: Path) -> None:
    """Under another name, with the same texts."""
    for film in TITLES:
        annotation(folder, film, "object").write_bytes(annotation(folder, film, "story").read_bytes())


def ask_for_long_blocks(folder: Path) -> None:
    file = folder / "encoding.yaml"
    file.write_text(file.read_text().replace("block_s: 10", "block_s: 60"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lack_a_level, ("task-glee_run-02", "level 'object'")),
        (break_an_annotation, ("task-crown_run-01", "level 'story'", "stim-crown_annot-storyA01_events.tsv", "three")),
        (make_an_annotation_binary, ("stim-suits_annot-objectA01_events.tsv",)),
        (write_an_annotation_in_another_encoding, ("stim-suits_annot-objectA01_events.tsv", "UTF-8")),
        (lack_a_column, ("stim-glee_annot-storyA01_events.tsv", "duration")),
        (end_an_annotation_before_its_run, ("task-glee_run-02", "level 'story'")),
        (truncate_a_recording, ("sub-01, task-suits_run-02",)),
        (shorten_a_recording, ("sub-01, task-crown_run-02", "70")),
        (hold_a_run_still, ("sub-01, task-glee_run-02: not one of its 40 voxels changes over 90 volumes",)),
        (
            copy_a_run_over_another,
            (
                "sub-01, task-suits_run-02: its recording has the same bytes as that of sub-01, task-crown_run-01: ",
                "sub-01_task-suits_run-02_space-MNI_desc-clean_bold.nii.gz and derivatives/",
            ),
        ),
        (change_a_tr, ("sub-01, task-glee_run-01", "TR", "2 s")),
        (write_a_mask_of_another_shape, ("sub-01", "mask.nii.gz is (2, 2, 2), the responses are (4, 5, 2)")),
        (name_a_voxel_that_there_is_not, ("voxel '40' of region 'story': there are voxels 0 to 39",)),
        (take_one_level_twice, ("bands.both: story-words and object-words are the same features",)),
        (name_a_model_that_there_is_not, ("features.story-words", "no config.json")),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_is_named_before_anything_is_made(tmp_path: Path, spoil: Callable[[Path], None], said: tuple[str, ...]):
    write_study(tmp_path, subjects=("01",))
    assert sentences(tmp_path) == []
    spoil(tmp_path)
    found = sentences(tmp_path)
    assert any(all(part in line for part in said) for line in found), found
    with pytest.raises(DataError):
        run_analysis(read_analysis(tmp_path))
    assert not (tmp_path / "fits").exists() and not (tmp_path / "features").exists()


def test_more_features_than_samples_and_columns_that_repeat_are_fitted(tmp_path: Path):
    text = ANALYSIS.replace("seconds: [4]", f"seconds: {list(range(70))}").replace(
        "permutations: 99", "permutations: 0"
    )
    text = text.replace("bootstrap: 50", "bootstrap: 0")
    analysis = read_analysis(write_study(tmp_path, subjects=("01",), analysis=text))
    result = run_analysis(analysis).results[0]
    whole = result.partitions[0].fitted
    assert whole.facts["n_train"] == [258] and 2 * 4 * 70 > 258
    assert np.nanmean(whole.r[:18]) > 0.3


def test_columns_that_follow_from_others_are_fitted_and_named_with_their_rank(tmp_path: Path):
    folder = write_study(tmp_path, subjects=("01",))
    said = run_analysis(read_analysis(folder)).notes
    assert not [note for note in said if "rank" in note]
    shown = "".join(annotation(tmp_path, title, "story").read_text(encoding="utf-8") for title in TITLES)
    words = sorted(set(re.findall("[a-z]+", shown)))
    values = np.random.default_rng(0).standard_normal((len(words), 3))
    lines = [" ".join([word, *(f"{x:.6f}" for x in (*row, *row))]) for word, row in zip(words, values, strict=True)]
    (folder.parent / "repeated.txt").write_text("\n".join([f"{len(words)} 6", *lines]) + "\n", encoding="utf-8")
    text = folder.read_text(encoding="utf-8")
    old = next(line for line in text.splitlines() if "story-words:" in line)
    new = "  story-words: {level: story, kind: static, model: repeated.txt, language: en}"
    folder.write_text(text.replace(old, new), encoding="utf-8")
    (note,) = [note for note in run_analysis(read_analysis(folder)).notes if "rank" in note]
    assert note.startswith("features.story-words, layer 0: rank 3 of 6 columns in training: only the penalty decides")


@pytest.mark.parametrize("solver", ["auto", "primal"])
def test_more_columns_than_samples_and_components_than_dimensions_are_named_with_what_is_done(
    tmp_path: Path, solver: str
):
    text = ANALYSIS.replace("seconds: [4]", f"seconds: {list(range(40))}")
    text = text.replace("ridge: {", f"ridge: {{solver: {solver}, ")
    text = text.replace("object, kind: bag-of-words", "object, kind: bag-of-words, pca: 5000")
    found = check_analysis(read_analysis(write_study(tmp_path, subjects=("01",), analysis=text)))
    assert found.ok
    assert "features.object-words: pca is 5,000, but there are 4 dimensions: all are kept" in found.notes
    (note,) = [each for each in found.notes if "columns" in each]
    form = "primal" if solver == "primal" else "dual"
    assert note == (
        "bands.both: 320 columns (story-words: 160, object-words: 160) for 258 training samples: "
        f"fitted in {form} form; only the penalty decides between them"
    )


def test_an_annotator_who_ends_long_before_the_others_is_named_with_the_run(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    table = tmp_path / "dataset/stimuli/annotations.tsv"
    table.write_text(table.read_text() + "storyA02\tstory\tA02\ten\n")
    for film in TITLES:
        lines = annotation(tmp_path, film, "story").read_text().splitlines(keepends=True)
        kept = lines[:61] if film == "glee" else lines
        (tmp_path / f"dataset/stimuli/stim-{film}_annot-storyA02_events.tsv").write_text("".join(kept))
    assert check_analysis(read_analysis(tmp_path)).notes[:2] == (
        "task-glee_run-01: annotator A02 of level 'story' ends 30 of its 90 seconds before it does; others go on",
        "task-glee_run-02: annotator A02 of level 'story' ends 90 of its 90 seconds before it does; others go on",
    )


def truncate_weights(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose_the_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()


def name_another_type(model: Path) -> None:
    path = model / "config.json"
    path.write_text(path.read_text().replace('"gpt2"', '"gpt0"'))


def lose_a_file_of_weights(model: Path) -> None:
    names = {"a": "model.safetensors", "b": "model-2.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


@pytest.mark.parametrize(
    ("spoil", "layers", "said"),
    [
        (truncate_weights, "[0]", "model.safetensors is truncated"),
        (lose_the_tokenizer, "[0]", "tokenizer"),
        (name_another_type, "[0]", "gpt0"),
        (lose_a_file_of_weights, "[0]", "model-2.safetensors is not here"),
        (lambda _: None, "[0, 9]", "there is no layer 9: its layers are 0 to 3"),
    ],
)
def test_a_model_that_cannot_be_opened_is_refused_before_anything_is_made(
    tmp_path: Path, spoil: Callable[[Path], None], layers: str, said: str
):
    causal = "level: story, kind: causal, model: lm, layers: {}"
    texts = [ANALYSIS.replace("level: story, kind: bag-of-words", causal.format(each)) for each in ("[0]", layers)]
    write_study(tmp_path, subjects=("01",), analysis=texts[0])
    write_text_model(tmp_path / "lm", "gpt2")
    assert sentences(tmp_path) == []
    (tmp_path / "encoding.yaml").write_text(texts[1])
    spoil(tmp_path / "lm")
    (line,) = sentences(tmp_path)
    assert "features.story-words" in line and said in line, line
    with pytest.raises(DataError):
        run_analysis(read_analysis(tmp_path))
    assert not (tmp_path / "features").exists()


def test_a_level_that_covers_a_part_of_a_run_is_noted_with_both(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    path = annotation(tmp_path, "glee", "story")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: 1 + N_VOLUMES + 60]))
    found = check_analysis(read_analysis(tmp_path))
    assert found.ok and "task-glee_run-02: level 'story' lacks 30 of its 90 seconds (missing: zero)" in found.notes


def test_voxels_without_numbers_are_counted_with_their_run_and_left_out(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    path = responses(tmp_path, "task-suits_run-01")
    values = np.asarray(nibabel.load(path).dataobj).copy()
    values[0, 0, 0, 3], values[0, 0, 1, 4] = np.inf, np.nan
    values[1, 1] = 3
    nifti(path, values)
    report = run_analysis(read_analysis(tmp_path))
    (note,) = [each for each in report.notes if "voxel" in each]
    assert note.endswith("not scored; 2 voxels without any change in task-suits_run-01, scored over all runs")
    assert "3 voxels with values that are no numbers" in note
    for fit in report.results[0].fits.values():
        assert fit.columns["reason"][:2] == ["not finite"] * 2 and np.isnan(fit.r[:2]).all()


def test_features_that_never_change_are_refused_with_subject_and_level(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    for film in TITLES:
        path = annotation(tmp_path, film, "object")
        lines = [f"{second}\t1\tdoor boat" for second in range(2 * N_VOLUMES)]
        path.write_text("\n".join(["onset\tduration\ttext", *lines]) + "\n")
    file = tmp_path / "encoding.yaml"
    file.write_text(
        file.read_text().replace(
            "{level: object, kind: bag-of-words}", "{level: object, kind: bag-of-words, min_count: 1}"
        )
    )
    with pytest.raises(AnalysisError) as caught:
        run_analysis(read_analysis(tmp_path))
    assert "object-words" in str(caught.value) and "sub-01" in str(caught.value), str(caught.value)


def test_every_unreadable_annotation_is_named_once_and_a_missing_level_too(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    break_an_annotation(tmp_path)
    lack_a_column(tmp_path)
    write_an_annotation_in_another_encoding(tmp_path)
    found = sentences(tmp_path)
    assert len(found) == 3
    for line, film, level in zip(sorted(found), ("crown", "glee", "suits"), ("story", "story", "object"), strict=True):
        assert line.startswith(f"task-{film}_run-01, task-{film}_run-02: level {level!r}, stimuli/stim-{film}_"), line
    write_study(tmp_path, subjects=("01",), analysis=ANALYSIS.replace("level: object", "level: objects"))
    assert sentences(tmp_path) == ["no annotation of level 'objects' is here; there are: object (en), story (en)"]


def test_everything_bad_is_named_in_one_call_of_the_command(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    spoils = (lack_a_level, name_a_voxel_that_there_is_not, name_a_model_that_there_is_not, ask_for_long_blocks)
    for spoil in spoils:
        spoil(tmp_path)
    for command in ("check", "run"):
        outcome = release_kit("encoding", command, tmp_path)
        said = outcome.stdout + outcome.stderr
        assert outcome.returncode == 1 and "Traceback" not in said
        for part in ("task-glee_run-02", "level 'object'", "voxel '40'", "no config.json", "2 blocks of 60"):
            assert part in said, (part, said)


def test_the_recording_of_another_subject_is_refused_with_both_paths_whatever_its_name(tmp_path: Path):
    write_study(tmp_path)
    one = responses(tmp_path, "task-glee_run-01")
    other = Path(str(one).replace("sub-01", "sub-02"))
    other.write_bytes(one.read_bytes())
    (line,) = sentences(tmp_path)
    assert line.startswith("sub-02, task-glee_run-01: ")
    assert all(path.relative_to(tmp_path / "dataset").as_posix() in line for path in (one, other)), line
    values = np.asarray(nibabel.load(one).dataobj).copy()
    values[0, 0, 0, 50] += 1
    nifti(other, values)
    assert sentences(tmp_path) == []


def test_check_names_voxels_without_numbers_with_their_runs_as_far_as_it_was_asked_to_look(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    path = responses(tmp_path, "task-suits_run-01")
    values = np.asarray(nibabel.load(path).dataobj).copy()
    values[1, 1, 1] = np.nan
    nifti(path, values)
    first = check_analysis(read_analysis(tmp_path))
    assert first.ok and first.looked_at == "the first 3 volumes of 6 runs"
    assert "sub-01, task-suits_run-01: 1 of 40 voxels with values that are no numbers" in first.notes
    every = check_analysis(read_analysis(tmp_path), values=True)
    assert every.ok and every.looked_at == "every value of 6 runs"
    runs = "task-crown_run-01 and 5 more runs"
    assert f"sub-01, {runs}: 2 of 40 voxels with values that are no numbers" in every.notes
    assert f"sub-01, {runs}: 1 of 40 voxels without any change" in every.notes
    said = release_kit("encoding", "check", tmp_path, "--values").stdout
    assert "values   every value of 6 runs were read" in said


def test_damage_that_a_run_mends_is_named_file_by_file(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    run_analysis(read_analysis(tmp_path))
    found = [next(tmp_path.glob(pattern)) for pattern in ("features/*/crown/*.npy", "fits/*/voxels.parquet")]
    found += [next(tmp_path.glob(pattern)) for pattern in ("fits/*/tests/*/voxels.parquet", "partitions/*/*.parquet")]
    before = [path.read_bytes() for path in found]
    for path in found[:-1]:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    found[-1].unlink()
    notes = run_analysis(read_analysis(tmp_path)).notes
    for path in found:
        name = path.relative_to(tmp_path).as_posix()
        assert [name in note and note.endswith("made again") for note in notes].count(True) == 1, (name, notes)
    assert [path.read_bytes() for path in found] == before
    assert not [note for note in run_analysis(read_analysis(tmp_path)).notes if "made again" in note]
