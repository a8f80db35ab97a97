"""``sae check``, ``plan``, ``run``, ``status`` and ``worker``: what people see, exit codes, nothing kept in silence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sae.small_study import made_files, write_study

from release_kit.cli import main
from release_kit.engine.pull import Rules
from release_kit.sae.grid import run as grid
from release_kit.sae.pipeline.paths import SaeKey, measure_folder, sae_folder

Run = Callable[..., tuple[int, dict, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study of one size and two steps that was run to its tables by one worker, in processes of its own."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    write_study(folder, sizes="small", steps="[0, 6]")
    with pytest.raises(SystemExit) as ended:
        main(["sae", "run", str(folder), "--workers", "1", "--json"])
    assert ended.value.code == 0
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished study."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command: exit code, JSON of stdout, stderr."""

    def call(*words: str) -> tuple[int, dict, str]:
        with pytest.raises(SystemExit) as ended:
            main(["sae", *words, "--json"])
        out, err = capsys.readouterr()
        return ended.value.code, json.loads(out) if out.strip() else {}, err

    return call


def change(study: Path, old: str, new: str) -> None:
    file = study / "sae.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_finished_study_is_done_and_nothing_is_made_again(study: Path, run: Run):
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.json") if "tables" not in path.parts}
    wanted = made_files(study)
    code, said, _ = run("run", str(study))
    assert code == 0 and (said["n_done"], said["n_before"], said["n_saes"]) == (0, 6, 8)
    assert {path: path.stat().st_mtime_ns for path in before} == before and made_files(study) == wanted
    code, said, _ = run("status", str(study))
    assert code == 0 and (said["n_saes"], said["n_saes_done"], said["n_waiting"]) == (8, 8, 0)
    assert said["stale"] == []


def test_plan_says_numbers_and_times_and_writes_nothing(study: Path, run: Run):
    before = sorted(study.rglob("*"))
    code, said, _ = run("plan", str(study))
    assert code == 0 and said["n_saes"] == said["n_done"] == 8 and said["seconds_left"] == 0
    (size,) = said["sizes"]
    assert size["steps"] == [0, 6] and size["n_parameters"] == 2 * 16 * 48 + 16 + 48
    assert size["cache_bytes"] == 1280 * 16 * 2 * 2
    change(study, "seeds: [0, 1]", "seeds: [0, 1, 2]")
    _, said, _ = run("plan", str(study), "--select", "seed=2", "--select", "step=6")
    assert said["n_saes"] == 4 and said["n_done"] == 0 and said["seconds_left"] > 0
    assert sorted(study.rglob("*")) == before


def test_check_finds_nothing_in_a_good_study_and_everything_in_a_bad_one(study: Path, tmp_path: Path, run: Run):
    code, said, _ = run("check", str(study))
    assert code == 0 and [one["code"] for one in said["problems"]] == ["licence"]
    bad = write_study(tmp_path / "bad", sizes="small")
    change(bad, "seeds: [0, 1]", "seeds: [0, 1]\nlayers: [1, 7]")
    change(bad, "n_features: 48, k: 4", "expansion: 2, k: 400")
    change(bad, "kind: disk", "kind: disk, max_gb: 0.000001")
    change(bad, "variants: [add]", "variants: [add], steps: [5]")
    lines = (bad / "pairs.tsv").read_text().splitlines()
    (bad / "pairs.tsv").write_text("\n".join([*lines, "900\tOnly English.\tOnly English."]) + "\n")
    code, said, _ = run("check", str(bad))
    found = {one["code"]: one["what"] for one in said["problems"] if one["severity"] == "error"}
    assert code == 1 and set(found) == {"texts", "layers", "width", "cache", "interventions"}
    assert "no Japanese" in found["texts"] and "no layer 7" in found["layers"] and "size small" in found["width"]


def test_a_missing_checkpoint_in_the_middle_of_a_series_from_elsewhere_is_found(study: Path, tmp_path: Path, run: Run):
    other = write_study(tmp_path / "other", sizes="small")
    old = next(line for line in (other / "sae.yaml").read_text().splitlines() if line.startswith("  small:"))
    new = f"  small: {{path: {study}/models/small, revisions: {{0: step-0, 3: step-3, 6: step-6}}}}"
    change(other, old, new)
    code, said, _ = run("check", str(other))
    (problem,) = [one for one in said["problems"] if one["severity"] == "error"]
    assert code == 1 and "'step-3'" in problem["what"] and "step-0, step-6" in problem["what"]


def test_a_disk_that_is_too_small_for_models_or_autoencoders_is_found(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    from release_kit.sae.grid import check

    study = write_study(tmp_path / "study", sizes="small")
    assert run("check", str(study))[0] == 0
    monkeypatch.setattr(check, "_free", lambda folder: 300_000)
    code, said, _ = run("check", str(study))
    (problem,) = [one for one in said["problems"] if one["severity"] == "error"]
    assert code == 1 and problem["code"] == "disk" and "the disk has 0.3 MB" in problem["what"]


def test_a_checkpoint_of_another_model_in_a_series_is_found(study: Path, tmp_path: Path, run: Run):
    other = write_study(tmp_path / "other", sizes="small")
    old = next(line for line in (other / "sae.yaml").read_text().splitlines() if line.startswith("  small:"))
    change(other, old, f"  small: {{path: {study}/models/small, revisions: {{0: step-0, 3: step-3, 6: step-6}}}}")
    config = json.loads((study / "models/small/step-6/config.json").read_text())
    shutil.copytree(study / "models/small/step-6", study / "models/small/step-3")
    (study / "models/small/step-3/config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    code, said, _ = run("check", str(other))
    (problem,) = [one for one in said["problems"] if one["severity"] == "error"]
    assert code == 1 and problem["code"] == "checkpoint"
    assert "step 3 has 2 blocks of width 32, the series 2 blocks of width 16" in problem["what"]


def test_check_holds_everything_that_was_made_against_its_digest(study: Path, run: Run):
    key = SaeKey(size="small", step=6, layer=2, seed=1)
    places = [
        sae_folder(study, key) / "sae_weights.safetensors", measure_folder(study, key) / "contexts.parquet",
        study / "tables/effects.parquet", next((study / "interventions").rglob("*.parquet")),
    ]  # fmt: skip
    for place in places:
        data = bytearray(place.read_bytes())
        data[len(data) // 2] ^= 1
        place.write_bytes(bytes(data))
    code, said, _ = run("check", str(study))
    found = [one["what"] for one in said["problems"] if one["code"] == "damaged"]
    assert code == 1 and len(found) == len(places)
    assert all(any(place.name in what for what in found) for place in places)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n_held_out: 30", "n_held_out: 28", "text.n_held_out 30 → 28"),
        ("hidden_size: 16", "hidden_size: 24", "models.small.hidden_size 16 → 24"),
        ("seeds: [0, 1]", "seeds: [0]", "seeds [0, 1] → [0]"),
        ("sentences: 8", "sentences: 7", "intervene.sentences 8 → 7"),
        ("nulls: [random-model, permuted-languages]", "nulls: [random-model]", "classify.nulls"),
    ],
)
def test_a_study_that_was_declared_otherwise_is_not_released(study: Path, run: Run, old: str, new: str, said: str):
    change(study, old, new)
    code, _, err = run("release", str(study), "--no-build")
    assert code == 1 and "declared otherwise" in err and said in err
    assert not (study / "published").exists()


def test_a_study_of_other_sentences_is_not_released(study: Path, run: Run):
    code, _, err = run("release", str(study), "--no-build")
    assert code == 0
    shutil.rmtree(study / "published")
    pairs = study / "pairs.tsv"
    pairs.write_text(pairs.read_text().replace("The dog", "A dog"))
    code, _, err = run("release", str(study), "--no-build")
    assert code == 1 and "language models of small: other sentences" in err and not (study / "published").exists()


@pytest.mark.slow
def test_a_missing_checkpoint_is_made_again_as_check_says_and_nothing_else(study: Path, run: Run):
    wanted = made_files(study)
    shutil.rmtree(study / "models/small/step-0")
    code, said, _ = run("check", str(study))
    (problem,) = [one for one in said["problems"] if one["severity"] == "error"]
    assert code == 1 and "remove" in problem["next_step"] and "series.json" in problem["next_step"]
    (study / "models/small/series.json").unlink()
    code, said, _ = run("run", str(study), "--workers", "1")
    assert code == 0 and said["done"] == ["small: language models"] and made_files(study) == wanted


def test_other_settings_are_refused_and_made_again_when_asked(study: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    wanted = made_files(study)
    change(study, "warmup_steps: 3", "warmup_steps: 4")
    code, said, err = run("run", str(study))
    assert code == 1 and said["error"] == "StaleError" and "warmup_steps 3 → 4" in err and "--redo-stale" in err
    assert made_files(study) == wanted
    code, said, _ = run("check", str(study))
    assert code == 1 and {one["code"] for one in said["problems"] if one["severity"] == "error"} == {"stale"}
    code, said, _ = run("status", str(study))
    assert code == 1 and len(said["stale"]) == 8 and "warmup_steps 3 → 4" in said["stale"][0]
    change(study, "warmup_steps: 4", "warmup_steps: 3")
    change(study, "least_sentences: 2", "least_sentences: 3")
    code, said, err = run("run", str(study))
    assert code == 1 and "measures of small, step 0, layer 1, seed 0: classify.least_sentences 2 → 3" in err
    change(study, "least_sentences: 3", "least_sentences: 2")
    change(study, "learning_rate: 0.01", "learning_rate: 0.02")
    code, said, err = run("run", str(study))
    assert code == 1 and "language models of small: learning_rate 0.01 → 0.02" in err


@pytest.mark.slow
def test_a_change_makes_only_what_depends_on_it_again(study: Path, run: Run):
    change(study, "least_sentences: 2", "least_sentences: 4")
    code, said, _ = run("run", str(study), "--redo-stale", "--workers", "1")
    assert code == 0 and said["n_done"] == 3 and said["n_before"] == 3
    key = SaeKey(size="small", step=6, layer=2, seed=1)
    record = json.loads((measure_folder(study, key) / "measure.json").read_text())
    assert record["identity"]["classify"]["least_sentences"] == 4
    assert (sae_folder(study, key) / "sae.json").is_file()


@pytest.mark.slow
def test_a_part_that_fails_is_named_the_rest_goes_on_and_a_retry_completes_it(study: Path, run: Run):
    wanted = made_files(study)
    shutil.rmtree(study / "saes/small/step-6")
    weights = study / "models/small/step-6/model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    code, said, _ = run("run", str(study), "--workers", "1")
    (failed,) = said["failed"]
    assert code == 1 and "size small, step 6" in failed["where"] and failed["title"] == "small, step 6: autoencoders"
    code, said, _ = run("status", str(study))
    assert code == 1 and said["n_failed"] == 1
    weights.write_bytes(data)
    code, said, _ = run("run", str(study), "--workers", "1")
    assert code == 1 and len(said["failed"]) == 1, "nothing says that it would end otherwise now"
    code, said, _ = run("run", str(study), "--workers", "1", "--retry-failed")
    assert code == 0 and made_files(study) == wanted


def test_what_failed_before_the_file_was_changed_is_tried_again_by_itself(study: Path, run: Run):
    wanted = made_files(study)
    shutil.rmtree(study / "saes/small/step-6")
    weights = study / "models/small/step-6/model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    assert run("run", str(study), "--workers", "1")[0] == 1
    weights.write_bytes(data)
    file = study / "sae.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# looked at again\n", encoding="utf-8")
    assert run("run", str(study), "--workers", "1")[0] == 0 and made_files(study) == wanted


def test_a_worker_joins_and_says_what_it_did(study: Path, run: Run):
    code, said, _ = run("worker", str(study))
    assert code == 0 and said == {"ok": True, "done": 0, "failed": 0, "n_left": 0, "n_failed": 0}


@pytest.mark.parametrize("term", ["size=smal", "step=7", "depth=1", "layer"])
def test_an_unknown_selection_is_wrong_usage(study: Path, run: Run, term: str):
    code, _, err = run("run", str(study), "--select", term)
    assert code == 2 and "--select" in err


def test_slurm_is_asked_for_the_same_parts(study: Path, monkeypatch: pytest.MonkeyPatch):
    from release_kit.engine import slurm
    from release_kit.sae.spec.read import read_study

    asked = []
    monkeypatch.setattr(slurm, "run_on_slurm", lambda *given: asked.append(given))
    shutil.rmtree(study / "interventions")
    options = grid.RunOptions(rules=Rules(), slurm={"partition": "gpu"})
    report = grid.run_study(read_study(study), engine="slurm", workers=3, options=options)
    ((name, told, units, workers, _, fields),) = asked
    assert (name, workers, fields) == ("small-study", 3, {"partition": "gpu"}) and told.study_folder == study
    assert [unit.name for unit in units][:2] == ["model-small", "train-small-0"] and told.plan(told) == units
    assert not report.ok and report.waiting == ("small, step 0: interventions",)
