"""``release-kit encoding simulate``: a study is written that its analysis runs on, and judged by what was planted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_in_process import release_kit

from release_kit.core.files import iter_files

SMALL = ("--subjects", "1", "--volumes", "200", "--noise", "white", "--seed", "3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study whose analysis was run in mode both."""
    folder = tmp_path_factory.mktemp("simulated") / "study"
    written = release_kit("encoding", "simulate", "--out", folder, *SMALL)
    assert written.returncode == 0, written.stderr
    assert "1 subject, 3 films in 9 runs of 200 volumes, 200 voxels, white noise, seed 3" in written.stdout
    file = folder / "encoding.yaml"
    file.write_text(file.read_text().replace("permutations: 999, bootstrap: 500", "permutations: 199, bootstrap: 50"))
    ran = release_kit("encoding", "run", folder)
    assert ran.returncode == 0, ran.stderr
    return folder


def test_the_finished_analysis_is_judged_by_what_was_planted(finished: Path):
    said = release_kit("encoding", "simulate", "--score", finished)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "no more false positives than the level allows" in said.stdout
    found = json.loads(release_kit("encoding", "simulate", "--score", finished, "--json").stdout)
    assert found["ok"] and len(found["fits"]) == 4
    for fit in found["fits"]:
        assert fit["overlap"] >= 0.95 and 0.8 < fit["r"] / fit["attainable_r"] < 1.1 and fit["n_null"] == 140
        assert fit["mode"] == "paper" or fit["false_p"] <= found["most_false"]["corrected"]
    parts = {(one["mode"], one["region"], one["band"]): one for one in found["parts"]}
    assert len(parts) == 2 * 4 * 2
    assert all(abs(one["error"]) < 0.06 for one in parts.values())
    own, other = parts["corrected", "auditory", "speech"], parts["corrected", "auditory", "story"]
    assert own["planted"] > 0.1 and own["found"] > 0.08 and abs(other["planted"]) < 1e-9
    assert own["error_low"] < own["error"] < own["error_high"]
    assert (
        parts["paper", "angular", "story"]["metric"] == "r" and parts["paper", "angular", "story"]["error_low"] is None
    )


def test_the_reference_validator_finds_no_error_in_the_dataset(finished: Path):
    validated = release_kit("bids", "validate", finished / "dataset")
    assert validated.returncode == 0 and "valid: 0 errors" in validated.stdout, validated.stdout


def test_a_test_that_calls_too_much_ends_with_1(finished: Path, tmp_path: Path):
    spoilt = tmp_path / "study"
    shutil.copytree(finished, spoilt)
    record = json.loads((spoilt / "analysis.json").read_text())
    chosen = next(row for row in record["chosen"] if row["mode"] == "corrected")
    path = spoilt / "fits" / chosen["fit_id"] / chosen["test"] / "voxels.parquet"
    table = pq.read_table(path)
    everything = pa.array(np.full(table.num_rows, 0.005, np.float32))
    pq.write_table(table.set_column(table.column_names.index("p"), "p", everything), path)
    said = release_kit("encoding", "simulate", "--score", spoilt)
    assert said.returncode == 1 and "MORE false positives" in said.stdout and "140 of 140!" in said.stdout


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        outcome = release_kit("encoding", "simulate", "--out", tmp_path / name, *SMALL[:-1], seed, "--json")
        assert json.loads(outcome.stdout)["seed"] == int(seed)
    files = [name for name, _ in iter_files(tmp_path / "a")]
    assert files == [name for name, _ in iter_files(tmp_path / "b")] and len(files) > 30
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    truth = "dataset/derivatives/truth/sub-01_truth.tsv"
    assert (tmp_path / "a" / truth).read_bytes() != (tmp_path / "c" / truth).read_bytes()


def test_a_folder_in_use_is_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    outcome = release_kit("encoding", "simulate", "--out", tmp_path)
    assert outcome.returncode == 2 and "not empty; nothing was touched" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say either --out"),
        (("--out", "a", "--score", "b"), "say either --out"),
        (("--score", "b", "--seed", "4"), "--seed belong to --out"),
        (("--out", "a", "--noise", "real", "--volumes", "700"), "the recording at rest has 652 volumes"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: tuple[str, ...], said: str):
    outcome = release_kit("encoding", "simulate", *arguments)
    assert outcome.returncode == 2 and said in outcome.stderr


def test_a_study_that_was_not_analysed_or_not_simulated_is_said(tmp_path: Path):
    release_kit("encoding", "simulate", "--out", tmp_path / "study", *SMALL)
    outcome = release_kit("encoding", "simulate", "--score", tmp_path / "study")
    assert outcome.returncode == 1 and "is no finished analysis" in outcome.stderr
    (tmp_path / "study/dataset/derivatives/truth").rename(tmp_path / "truth")
    outcome = release_kit("encoding", "simulate", "--score", tmp_path / "study")
    assert outcome.returncode == 1 and "nothing says what was planted" in outcome.stderr
