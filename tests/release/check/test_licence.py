"""The licence of a release against those of its base models."""

import pytest
import yaml
from study_factory import change_study

from release_kit.release.cards.hub_tables import LICENSES
from release_kit.release.check import check_study
from release_kit.release.check.licence import SPDX_ALIASES, TERMS, incompatibility, normalised


def with_base_licence(study, licence):
    factors = yaml.safe_load((study.folder / "study.yaml").read_text())["factors"]
    factors["base_model"]["tiny-llama"]["license"] = licence
    return change_study(study, factors=factors)


def test_missing_licence(make_study, only):
    only(change_study(make_study(), license=None), "licence-missing", "study.yaml: license", severity="error")


def test_misspelt_licence_names_the_nearest(make_study, only):
    (found,) = only(change_study(make_study(), license="apache-2"), "licence-unknown", "study.yaml: license")
    assert "did you mean 'apache-2.0'?" in found.what


def test_spelling_of_spdx_is_known(make_study):
    assert check_study(change_study(make_study(), license="Apache-2.0")).problems == ()


def test_base_without_a_declared_licence(make_study, only):
    only(with_base_licence(make_study(), None), "licence-base-unknown", "base model tiny-llama", severity="warning")


def test_base_with_terms_that_nobody_knows_is_a_note(make_study, only):
    only(with_base_licence(make_study(), "other"), "licence-base-unknown", "base model tiny-llama", severity="note")


@pytest.mark.parametrize("base", ["llama3.1", "gemma", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "openrail", "gpl-3.0"])
def test_permissive_licence_over_a_base_with_terms(make_study, only, base):
    (found,) = only(with_base_licence(make_study(), base), "licence-incompatible", "base model tiny-llama")
    assert "the study declares apache-2.0" in found.what and f"the base declares {base}" in found.what


@pytest.mark.parametrize(
    ("declared", "base"),
    [
        ("mit", "apache-2.0"),
        ("llama3.1", "llama3.1"),
        ("other", "gemma"),
        ("cc-by-nc-sa-4.0", "cc-by-nc-4.0"),
        ("bigscience-openrail-m", "openrail"),
        ("agpl-3.0", "gpl-3.0"),
        ("cc-by-4.0", "mit"),
    ],
)
def test_licences_that_go_together(declared, base):
    assert incompatibility(declared, base) is None


def test_release_of_results_alone_does_not_inherit_terms(make_study):
    study = with_base_licence(make_study(), "cc-by-nc-4.0")
    found = check_study(change_study(study, artifacts="results-only")).problems
    assert "licence-incompatible" not in {each.code for each in found}


def test_table_speaks_of_identifiers_that_the_hub_knows():
    named = set().union(*(terms.bases | (terms.allowed or frozenset()) for terms in TERMS)) | set(SPDX_ALIASES.values())
    assert named <= LICENSES
    assert normalised(" GPL-3.0-or-later ") == "gpl-3.0"
