"""The store: nothing is computed twice, nothing old is ever found, an interruption loses one stimulus at most."""

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import encoding_features_factory as factory
import numpy as np
import pytest
import torch
from killing import run_child

from release_kit.core.canonical import read_json
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX, exclusive
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.assemble import write_stimulus
from release_kit.encoding.features.bag import BagOfWords, fit_vocabulary
from release_kit.encoding.features.model_files import model_digests
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.store import feature_files
from release_kit.encoding.features.texts import bin_texts


def binned(rows, stim_id="film", duration_s=6.0, **asked):
    return bin_texts(factory.table(rows, stim_id=stim_id), stim_id, "story", "en", duration_s, 1.0, **asked)


ROWS = [("a", 0.0, 2.0, "the man walks"), ("a", 3.0, 1.0, "the dog sleeps"), ("b", 0.0, 1.0, "the dog sleeps"),
        ("b", 3.0, 3.0, "a woman runs home")]  # fmt: skip
FILMS = [binned(ROWS), binned([("a", 1.0, 4.0, "the old house")], "glee"), binned(ROWS[:2], "suits")]
BAG = FeatureSpec(name="words", kind="bag-of-words", level="story", min_count=1)
ALL_BINS = {each.stim_id: np.ones(each.n_bins, bool) for each in FILMS}


def model_spec(folder: Path, **settings) -> FeatureSpec:
    return FeatureSpec(name="latents", kind="causal", model=folder, level="story", **settings)


def bag(folder: Path, spec: FeatureSpec = BAG, films=FILMS, train_bins=ALL_BINS):
    return feature_files(spec, films, folder, train_bins=train_bins)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".release_kit" not in path.parts
    }


def stamps(folder: Path) -> dict[str, int]:
    return {path.name + path.parent.name: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_mean_is_over_annotators_who_wrote_something(models, tmp_path):
    files = feature_files(model_spec(models["gpt2"]), FILMS[:1], tmp_path)
    each = feature_files(model_spec(models["gpt2"], annotators="each"), FILMS[:1], tmp_path)
    assert (files.layers, files.annotators, each.annotators) == ((0, 1, 2, 3), ("mean",), ("a", "b"))
    for layer in files.layers:
        mean, a, b = files.layer("film", layer), each.layer("film", layer, "a"), each.layer("film", layer, "b")
        assert mean.dtype == np.float32 and mean.shape == (6, 32)
        np.testing.assert_allclose(mean[[0, 3]], (a[[0, 3]] + b[[0, 3]]) / 2, atol=1e-6)
        assert np.array_equal(mean[1], a[1]) and np.array_equal(mean[4:], b[4:])
        assert not mean[2].any() and np.array_equal(a[3], b[0]), "equal texts have equal latents"
    assert files.missing("film").tolist() == [False, False, True, False, False, False]
    assert each.missing("film", "b").tolist() == [False, True, True, False, False, False]
    with pytest.raises(FeatureError, match="name one of"):
        each.layer("film", 0)


def test_equal_texts_are_computed_once(models, tmp_path):
    files = feature_files(model_spec(models["gpt2"]), FILMS[:1], tmp_path)
    assert files.counts()["items"] == 3
    assert files.counts()["tokens"] == 3 + 3 + 4


@pytest.mark.parametrize(("missing", "bin_2"), [("zero", "zeros"), ("drop", "zeros"), ("carry", "before")])
def test_missing_bins_are_filled_as_asked_and_stay_marked(tmp_path, missing, bin_2):
    late = [binned([("a", 1.0, 1.0, "the man"), ("a", 4.0, 1.0, "dog")])]
    files = bag(tmp_path, replace(BAG, missing=missing), late)
    x = files.layer("film", 0)
    assert np.array_equal(x[2], x[1] if bin_2 == "before" else 0 * x[1]) and np.array_equal(x[2], x[3])
    assert not x[0].any() and x[1].any(), "nothing is carried from later bins to earlier ones"
    assert np.flatnonzero(files.missing("film")).tolist() == [0, 2, 3, 5]
    assert files.counts()["missing"] == 4


def test_second_call_reads_and_computes_nothing(models, tmp_path):
    one = feature_files(model_spec(models["gpt2"]), FILMS, tmp_path)
    before = stamps(tmp_path)
    told = []
    two = feature_files(model_spec(models["gpt2"]), FILMS, tmp_path, lambda *args: told.append(args))
    assert one.key == two.key and stamps(tmp_path) == before
    assert told == [("film", 1, 3), ("glee", 2, 3), ("suits", 3, 3)]


def test_changed_weight_text_or_setting_is_another_key(models, tmp_path):
    folder = Path(shutil.copytree(models["gpt2"], tmp_path / "model"))
    asked = model_spec(folder)
    first = feature_files(asked, FILMS, tmp_path / "store")
    changed = [*ROWS[:3], ("b", 3.0, 3.0, "a woman runs house")]
    others = [
        feature_files(replace(asked, pooling="last"), FILMS, tmp_path / "store"),
        feature_files(replace(asked, context_s=2.0), FILMS, tmp_path / "store"),
        feature_files(asked, [binned(changed), *FILMS[1:]], tmp_path / "store"),
        feature_files(asked, [binned(ROWS, duration_s=7.0), *FILMS[1:]], tmp_path / "store"),
    ]
    factory.change_one_weight(folder)
    others.append(feature_files(asked, FILMS, tmp_path / "store"))
    made = folder / "tokenizer_config.json"
    made.write_text(made.read_text().replace("64", "32"))
    others.append(feature_files(asked, FILMS, tmp_path / "store"))
    assert len({first.key, *(each.key for each in others)}) == 7
    assert not np.array_equal(first.layer("film", 2), others[0].layer("film", 2))
    assert not np.array_equal(first.layer("film", 2), others[2].layer("film", 2))


def test_another_name_or_place_is_the_same_key(models, tmp_path):
    moved = Path(shutil.copytree(models["gpt2"], tmp_path / "elsewhere"))
    one = feature_files(model_spec(models["gpt2"]), FILMS, tmp_path / "store")
    two = feature_files(replace(model_spec(moved), name="other"), FILMS[::-1], tmp_path / "store")
    assert one.key == two.key


def test_bytes_are_the_same_in_another_folder_with_one_thread(models, tmp_path):
    assert torch.get_num_threads() == 1
    for name in ("one", "two"):
        feature_files(model_spec(models["bert"], context_s=3.0), FILMS, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_killed_at_any_point_it_goes_on_and_ends_in_the_same_bytes(tmp_path):
    def make(folder: Path):
        return lambda: bag(folder)

    state, n_points = run_child(make(tmp_path / "whole"))
    assert state == "done" and n_points > 20
    expected = tree(tmp_path / "whole")
    for point in range(1, n_points + 1, max(1, n_points // 12)):
        folder = tmp_path / f"killed-{point}"
        assert run_child(make(folder), kill_at=point)[0] == "killed"
        home = next(folder.glob("*"), None)
        assert home is None or not (home / "features.json").exists() or tree(folder) == expected
        kept = stamps(folder) if home and (home / "film" / "stimulus.json").exists() else {}
        assert bag(folder).key in str(next(folder.glob("*")))
        assert tree(folder) == expected, f"killed at {point}"
        assert {name: stamp for name, stamp in stamps(folder).items() if name in kept and "film" in name} == {
            name: stamp for name, stamp in kept.items() if "film" in name
        }, "a finished stimulus is not made again"


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_file_is_found_by_its_digest_and_made_again(tmp_path, damage):
    files = bag(tmp_path)
    expected = tree(tmp_path)
    path = files.folder / "glee" / "layer-00.npy"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flipped" else data[:-5])
    others = stamps(tmp_path)
    bag(tmp_path)
    assert tree(tmp_path) == expected
    kept = stamps(tmp_path)
    assert all(kept[name] == stamp for name, stamp in others.items() if "glee" not in name)


def test_stimulus_that_did_not_change_is_taken_over_unless_it_is_damaged(models, tmp_path):
    asked = model_spec(models["gpt2"])
    one = feature_files(asked, FILMS, tmp_path)
    suits, glee = (one.folder / name / "layer-01.npy" for name in ("suits", "glee"))
    known = suits.read_bytes()
    suits.write_bytes(known[:-4] + b"\1\2\3\4")
    glee.write_bytes(glee.read_bytes()[:-4] + b"\1\2\3\4")
    record = glee.with_name("stimulus.json")
    digest = hashlib.sha256(glee.read_bytes()).hexdigest()
    record.write_text(re.sub(r'("layer-01.npy": )"\w+"', rf'\1"{digest}"', record.read_text()))
    two = feature_files(asked, [*FILMS[1:], binned(ROWS[:3])], tmp_path)
    assert one.key != two.key
    assert (two.folder / "glee" / glee.name).read_bytes() == glee.read_bytes(), "marked, so it was not computed"
    assert (two.folder / "suits" / suits.name).read_bytes() == known, "damaged, so it was"


def test_record_of_another_content_is_not_believed(tmp_path):
    files = bag(tmp_path)
    record = files.folder / "film" / "stimulus.json"
    shutil.copy(files.folder / "suits" / "stimulus.json", record)
    again = bag(tmp_path)
    assert read_json(record)["identity"] == again.stimuli["film"]["identity"] != again.stimuli["suits"]["identity"]


def test_vocabulary_is_of_training_bins_only(tmp_path):
    train = {**ALL_BINS, "film": np.array([True, True, False, False, False, False])}
    held_out_changed = [*ROWS[:1], ("a", 3.0, 1.0, "a garden"), ROWS[2], ("b", 3.0, 3.0, "slowly slowly")]
    one = bag(tmp_path, films=[FILMS[0]], train_bins=train)
    two = bag(tmp_path, films=[binned(held_out_changed)], train_bins=train)
    assert one.layer("film", 0).shape == two.layer("film", 0).shape == (6, 5)
    assert np.array_equal(one.layer("film", 0)[:3], two.layer("film", 0)[:3])
    assert one.key != two.key
    with pytest.raises(FeatureError, match="training texts"):
        feature_files(BAG, FILMS, tmp_path)


def test_level_with_no_text_at_all_gives_zeros_that_are_marked(models, tmp_path):
    empty = [binned([("a", 0.0, 6.0, "..")])]
    files = feature_files(model_spec(models["gpt2"], layers=(1,)), empty, tmp_path)
    assert files.missing("film").all() and not files.layer("film", 1).any()


@pytest.mark.parametrize("what", ["absent", "no-config", "pickled"])
def test_folder_that_is_no_model_says_what_it_lacks(models, tmp_path, what):
    folder = tmp_path / "model"
    if what != "absent":
        shutil.copytree(models["gpt2"], folder)
        (folder / ("config.json" if what == "no-config" else "model.safetensors")).unlink()
    if what == "pickled":
        (folder / "pytorch_model.bin").write_bytes(b"")
    expected = {
        "absent": "there is no such model",
        "no-config": "lacks config.json",
        "pickled": "convert pytorch_model",
    }
    with pytest.raises(FeatureError, match=expected[what]):
        feature_files(model_spec(folder), FILMS, tmp_path / "store")


def test_every_file_that_a_tokenizer_may_read_decides_and_no_other(models, tmp_path):
    folder = Path(shutil.copytree(models["gpt2"], tmp_path / "model"))
    known = model_digests(folder, "latents")
    for name in ("README.md", "LICENSE", "pytorch_model.bin", ".gitattributes", "modeling_own.py"):
        (folder / name).write_bytes(b"x")
    assert model_digests(folder, "latents") == known
    for name in ("bpe.codes", "dict.txt", "vocab.bpe", "prophetnet.tokenizer"):
        (folder / name).write_bytes(b"x")
        assert name in model_digests(folder, "latents"), name


def test_key_says_every_library_that_calculates(models, tmp_path):
    files = feature_files(model_spec(models["gpt2"]), FILMS[:1], tmp_path)
    libraries = read_json(files.folder / "features.json")["identity"]["libraries"]
    assert set(libraries) == {"numpy", "torch", "transformers", "tokenizers"}
    assert "absent" not in libraries.values()


def test_order_of_annotators_in_a_list_is_no_part_of_the_key(tmp_path):
    keys = {
        bag(tmp_path, replace(BAG, annotators=names), [binned(ROWS, annotators=names)], {"film": np.ones(6, bool)}).key
        for names in (("a", "b"), ("b", "a"), "mean")
    }
    assert len(keys) == 1
    only = bag(tmp_path, BAG, [binned(ROWS, annotators=("a",))], {"film": np.ones(6, bool)})
    assert only.key not in keys


def test_disk_that_is_full_is_found_before_anything_is_filled(tmp_path):
    """A page of a file with holes that finds no room ends the process by a signal; so there are none."""
    taken = []

    class Looking(BagOfWords):
        def vectors(self, prepared):
            taken.extend(path.stat() for path in tmp_path.glob(f"{TEMPORARY_PREFIX}*"))
            return super().vectors(prepared)

    long = binned([("a", 0.0, 1.0, "dog")], duration_s=20_000.0)
    write_stimulus(BAG, long, Looking(BAG, fit_vocabulary(BAG, ["dog"])), tmp_path)
    (file,) = taken
    assert file.st_size > 80_000 and file.st_blocks * 512 >= file.st_size


def test_what_a_killed_copy_left_is_removed_by_the_next_one(models, tmp_path):
    asked = model_spec(models["gpt2"])
    feature_files(asked, FILMS, tmp_path / "a")
    feature_files(asked, FILMS, tmp_path / "b")
    expected = feature_files(asked, FILMS[:2], tmp_path / "a")
    leftover = tmp_path / "b" / expected.key / "film" / f"{TEMPORARY_PREFIX}layer-00.npy-12345678"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    feature_files(asked, FILMS[:2], tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_complete_features_are_read_while_another_holds_the_store(tmp_path):
    made = bag(tmp_path)
    with exclusive(made.folder, "features"):
        assert bag(tmp_path).key == made.key
        (made.folder / "glee" / "layer-00.npy").unlink()
        with pytest.raises(ReleaseKitError, match="wait until it ends"):
            bag(tmp_path)
