"""``bids init`` and ``bids check`` as a person runs them."""

import json
import time
from pathlib import Path

import bids_factory
import numpy as np
import pytest
from cli_in_process import release_kit


def test_init_writes_a_recipe_that_check_completes(study: Path, tmp_path: Path):
    (study / "recipe.yaml").unlink()
    out = tmp_path / "lab" / "recipe.yaml"
    ran = release_kit("bids", "init", study, "--out", out)
    assert ran.returncode == 0, ran.stderr
    assert f"release-kit bids check {out}" in ran.stdout
    ran = release_kit("bids", "check", out)
    assert ran.returncode == 1
    assert "error fill-in" in ran.stdout and "`dataset.name` is still to be filled in" in ran.stdout
    assert "not ready to convert" in ran.stdout
    text = out.read_text(encoding="utf-8").replace('language: "FILL IN"', "language: en")
    text = text.replace('license: "FILL IN"', "license: CC0-1.0").replace("FILL IN", "answer")
    out.write_text(text, encoding="utf-8")
    ran = release_kit("bids", "check", out)
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.startswith("answer 1.0.0: 2 subjects, 4 runs of 1 min 20 s, 1 stimulus, 3 annotation sources\n")
    assert ran.stdout.rstrip().endswith("ready to convert: 0 errors, 0 warnings")


def test_init_never_overwrites(study: Path):
    before = (study / "recipe.yaml").read_bytes()
    ran = release_kit("bids", "init", study, "--json")
    assert ran.returncode == 1
    assert "a recipe is there already" in json.loads(ran.stdout)["what"]
    assert (study / "recipe.yaml").read_bytes() == before


def test_check_prints_one_object_for_programs(study: Path):
    (study / "CD34/film_run2.nii.gz").unlink()
    ran = release_kit("bids", "check", study, "--json")
    value = json.loads(ran.stdout)
    assert (ran.returncode, value["ok"], value["codes"]) == (1, False, {"file-missing": 1})
    assert value["problems"][0]["where"] == "sub-02 task-film run-2"
    assert len(value["recordings"]) == 5


def test_check_shows_the_first_of_many_and_all_when_asked(study: Path):
    text = (study / "recipe.yaml").read_text(encoding="utf-8")
    runs = "".join(f"  - {{task: film, run: {n}}}\n" for n in range(3, 20))
    (study / "recipe.yaml").write_text(text.replace("anatomy:", runs + "anatomy:"), encoding="utf-8")
    ran = release_kit("bids", "check", study)
    assert "and 24 more (--all shows them)" in ran.stdout
    ran = release_kit("bids", "check", study, "--all")
    assert ran.stdout.count("is not there") == 34


def test_a_recipe_with_mistakes_lists_them_all_with_lines(study: Path):
    text = (study / "recipe.yaml").read_text(encoding="utf-8")
    changed = text.replace("tr_s: 1.0", "tr: 1.0").replace("sex: F", "sex: [F]")
    (study / "recipe.yaml").write_text(changed, encoding="utf-8")
    ran = release_kit("bids", "check", study)
    assert ran.returncode == 1
    assert "`recordings.tr` is not a known key — did you mean 'tr_s'?" in ran.stderr
    assert f"{study}/recipe.yaml:10: `subjects.01.sex`" in ran.stderr
    ran = release_kit("bids", "check", study, "--json")
    codes = {problem["code"] for problem in json.loads(ran.stdout)["problems"]}
    assert codes == {"unknown-key", "recipe-value", "missing-key"}


def test_sources_are_named_on_the_command_line_or_in_the_environment(study: Path, tmp_path: Path):
    recipe = (study / "recipe.yaml").rename(tmp_path / "recipe.yaml")
    assert "sources-missing" not in release_kit("bids", "check", recipe, "--sources", study).stdout
    assert release_kit("bids", "check", recipe, "--sources", study).returncode == 0
    assert release_kit("bids", "check", recipe, RELEASE_KIT_SOURCES=str(study)).returncode == 0
    assert release_kit("bids", "check", recipe, "--sources", tmp_path / "none").returncode == 1


def test_a_recipe_without_names_is_checked_with_the_table_of_names(study: Path, tmp_path: Path):
    text = (study / "recipe.yaml").read_text(encoding="utf-8").replace("AB12", "'01'").replace("CD34", "'02'")
    (study / "recipe.yaml").write_text(text, encoding="utf-8")
    names = tmp_path / "names.tsv"
    names.write_text("participant_id\tsource\n01\tAB12\nsub-02\tCD34\n", encoding="utf-8")
    assert release_kit("bids", "check", study).returncode == 1
    ran = release_kit("bids", "check", study, "--pseudonyms", names)
    assert (ran.returncode, "0 errors, 0 warnings" in ran.stdout) == (0, True), ran.stdout


@pytest.mark.slow
def test_258_runs_are_checked_in_under_five_seconds(tmp_path: Path):
    """Six subjects with 43 runs each; processor time, so that a busy machine does not decide."""
    from release_kit.bids.recipe.check import check_recipe
    from release_kit.bids.recipe.read import read_recipe

    random = np.random.default_rng(3)
    sources = [f"DM{number:02d}" for number in range(1, 7)]
    for source in sources:
        for run in range(1, 44):
            bids_factory.write_nifti(
                tmp_path / source / f"film_{run:02d}.nii.gz", random.integers(0, 99, (4, 4, 4, 60))
            )
    for run in range(1, 44):
        lines = "".join(f"[{second}] line {second}\n" for second in range(60))
        (tmp_path / f"film_{run:02d}.txt").write_text(lines, encoding="utf-8")
    subjects = "\n".join(f'  "{number:02d}": {{source: {source}}}' for number, source in enumerate(sources, 1))
    runs = "\n".join(
        f"  - {{task: film, run: {run}, shows: {{stimulus: film, duration_s: 60}}}}" for run in range(1, 44)
    )
    (tmp_path / "recipe.yaml").write_text(
        f"""schema_version: 1
dataset: {{name: N, version: 1.0.0, authors: [A], license: CC0-1.0, description: D}}
subjects:
{subjects}
tasks: {{film: {{name: F}}}}
stimuli: {{film: {{title: F, duration_s: {43 * 60 - 42 * 20}}}}}
recordings: {{pattern: "{{source}}/film_{{run:02d}}.nii.gz", tr_s: 1.0, overlap_s: 20}}
runs:
{runs}
annotations:
  - {{id: a, level: story, annotator: A, language: en, reader: seconds, clock: run, pattern: "film_{{run:02d}}.txt"}}
""",
        encoding="utf-8",
    )
    begin = time.process_time()
    report = check_recipe(read_recipe(tmp_path))
    seconds = time.process_time() - begin
    assert (report.ok, report.problems, report.n_runs()) == (True, (), 258)
    assert seconds < 5, f"{seconds:.1f} s"
