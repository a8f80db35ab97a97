"""Names of cells: readable, unique, and held against the Hub's rules before anything is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import StudyError
from release_kit.core.grid import cell_id, iter_levels
from release_kit.core.study import parse_study
from release_kit.release.naming import cell_names, format_name, name_problem


def _study(tmp_path, names: str | None, datasets=("lima", "alpaca"), seeds=(0, 1)):
    lines = ["schema_version: 1", "name: grid", 'version: "1"', "factors:", f"  dataset: {list(datasets)}"]
    lines += [f"seeds: {list(seeds)}"] + ([f"names: {names!r}"] if names else [])
    return parse_study("\n".join(lines), folder=tmp_path)


def _names(study) -> list[str]:
    return list(cell_names(study, {cell_id(study, levels): levels for levels in iter_levels(study)}).values())


def test_template_puts_levels_into_names(tmp_path):
    study = _study(tmp_path, "tiny-{dataset}-s{seed}")
    assert _names(study) == ["tiny-lima-s0", "tiny-lima-s1", "tiny-alpaca-s0", "tiny-alpaca-s1"]


def test_without_template_every_factor_is_named(tmp_path):
    assert _names(_study(tmp_path, None))[0] == "lima-0"


def test_template_that_forgets_a_factor_is_refused_with_both_cells(tmp_path):
    with pytest.raises(StudyError, match=r"'tiny-lima' stands for 2 cells .*dataset=lima seed=0.*seed=1"):
        _names(_study(tmp_path, "tiny-{dataset}"))


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    with pytest.raises(StudyError, match="stands for 2 cells"):
        _names(_study(tmp_path, "{dataset}", datasets=("Lima", "lima"), seeds=(0,)))


def test_unknown_factor_in_template_names_the_nearest(tmp_path):
    with pytest.raises(StudyError, match="did you mean 'dataset'"):
        _names(_study(tmp_path, "{datasets}-{seed}"))


def test_malformed_template_is_refused(tmp_path):
    with pytest.raises(StudyError, match="malformed"):
        _names(_study(tmp_path, "{dataset-{seed}"))


@pytest.mark.parametrize("template", ["{dataset}-{seed:03d}", "{dataset!q}-{seed}", "{dataset!r}-{seed}"])
def test_template_that_says_how_to_write_a_level_is_refused(tmp_path, template):
    with pytest.raises(StudyError, match="levels go into names as they are declared"):
        _names(_study(tmp_path, template))


def test_name_of_the_release_itself_is_refused(tmp_path):
    with pytest.raises(StudyError, match="name of the release itself"):
        _names(_study(tmp_path, "{dataset}", datasets=("grid", "lima"), seeds=(0,)))


@pytest.mark.parametrize("name", ["", "a" * 97, "a--b", "a..b", "-a", "a.", "a b", "a/b", "x.git", "ä"])
def test_names_the_hub_refuses_are_problems(name):
    assert name_problem(name)


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text(max_size=60) | st.integers() | st.booleans(), min_size=2))
def test_formatted_names_hold_only_allowed_characters(levels):
    name = format_name("x{a}-{b}", levels)
    assert (
        name_problem(name) in (None, f"is {len(name)} characters long; 96 are allowed")
        or ".." in name
        or name.endswith((".git", ".ipynb"))
    )
