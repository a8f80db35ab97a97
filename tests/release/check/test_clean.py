"""A study with nothing wrong gives not one problem: no false alarms, before and after a build."""

import tempfile
from pathlib import Path

import study_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from study_factory import TinyShape

from release_kit.core.study import read_study
from release_kit.release.build import build_release
from release_kit.release.check import check_study

SHAPES = st.builds(
    TinyShape,
    hidden=st.sampled_from([8, 16]),
    layers=st.integers(1, 3),
    heads=st.sampled_from([1, 2, 4]),
    intermediate=st.sampled_from([12, 20]),
    vocab=st.sampled_from([16, 33]),
)
NAMES = st.lists(st.sampled_from(["lima", "alpaca", "open-math", "flan_v2", "w.o-lima"]), min_size=1, unique=True)


def problems_of(folder: Path) -> list[str]:
    found = check_study(read_study(folder)).problems
    return [f"{each.code} {each.where}: {each.what}" for each in found]


def test_clean_study_reports_nothing_before_and_after_build(make_study):
    study = make_study()
    assert problems_of(study.folder) == []
    build_release(study)
    assert problems_of(study.folder) == []
    assert check_study(study).built


@settings(max_examples=12, deadline=None)
@given(
    datasets=NAMES,
    methods=st.sampled_from([("full",), ("lora",), ("full", "lora")]),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
    bases=st.sampled_from([("tiny-llama",), ("tiny-llama", "other-7B")]),
    shards=st.integers(1, 3),
    shape=SHAPES,
    with_base=st.booleans(),
)
def test_no_false_alarm_on_any_clean_grid(datasets, methods, seeds, bases, shards, shape, with_base):
    with tempfile.TemporaryDirectory() as folder:
        study_factory.make_study(
            Path(folder), datasets=tuple(datasets), methods=methods, seeds=tuple(seeds), base_models=bases,
            shards=shards, shape=shape, with_base=with_base,
        )  # fmt: skip
        assert problems_of(Path(folder)) == []


def test_study_without_evaluation_or_base_folder_is_clean_but_says_what_was_not_compared(make_study, only):
    base = {"tiny-llama": {"hub_id": "test-lab/tiny-llama", "license": "mit"}}
    study = make_study(benchmarks=(), with_base=False)
    factors = {"base_model": base, "dataset": ["alpaca", "lima"], "method": ["full", "lora"]}
    study_factory.change_study(study, factors=factors)
    only(study, "base-not-compared", "base model tiny-llama", severity="note")
