"""The README counts what is there: runs of each participant, seconds shown once, annotators that the recipe knows."""

from dataclasses import replace

import pytest
from annotation_study import RECORDING, make_recipe, source

from release_kit.bids.convert.readme import readme
from release_kit.bids.recipe.model import Run


def overview(**changes) -> str:
    return readme(make_recipe(**changes)).decode().split("\n\n")[2]


def test_runs_are_those_that_people_have_and_seconds_are_counted_once():
    recipe = make_recipe()
    assert "2 participants, 2 to 3 runs each" in overview()
    everybody = tuple(replace(run, missing={}) for run in recipe.runs)
    assert "2 participants, 3 runs each, 48 s of stimuli" in overview(runs=everybody)
    again = replace(recipe.runs[0], run=7)
    assert "4 runs each, 48 s of stimuli" in overview(runs=(*everybody, again)), "the same span is shown twice"


def test_a_reference_volume_is_no_run_and_is_told_apart():
    reference = Run(task="film", run=1, tr_s=1, recording=RECORDING, suffix="sbref", missing={"02": "not kept"})
    text = readme(make_recipe(runs=(make_recipe().runs[0], reference))).decode()
    assert "2 participants, 1 run each" in text
    assert "| film (A film), sbref |" in text
    assert "- sub-02, task film, run 1, sbref: not kept" in text


@pytest.mark.parametrize(
    ("options", "said", "listed"),
    [
        ({}, "by 1 annotator.", "| story | story | A01 |"),
        ({"split_annotators": True}, "by several annotators.", "one for each column of its files"),
        ({"split_annotators": True, "annotators": ["A01", "A02"]}, "by 2 annotators.", "| A01, A02 |"),
    ],
)
def test_annotators_are_counted_where_the_recipe_knows_them(options: dict, said: str, listed: str):
    sources = (source("story", "story", "A01", options=options),)
    assert overview(annotations=sources).endswith(said)
    assert listed in readme(make_recipe(annotations=sources)).decode()
