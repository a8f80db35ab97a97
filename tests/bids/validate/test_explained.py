"""A warning of the reference validator is explained by what the dataset says, and by nothing that we suppose of it."""

import json
from dataclasses import replace

import pytest

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.validate.explained import with_explanations
from release_kit.bids.validate.finding import ERROR, REFERENCE, WARNING, Finding
from release_kit.bids.validate.report import ValidationReport
from release_kit.bids.validate.survey import survey_dataset

SERIAL = Finding(
    code="SIDECAR_KEY_RECOMMENDED",
    sub_code="DeviceSerialNumber",
    severity=WARNING,
    path="sub-01/func/sub-01_task-film_run-01_bold.nii.gz",
    what="a recommended key is missing",
    next_step="add it",
    family=REFERENCE,
    source=REFERENCE,
)


def explained(dataset) -> str | None:
    (found,) = with_explanations(survey_dataset(dataset), Privacy(), [SERIAL])
    return found.explained


def test_what_others_did_not_publish_was_not_left_out_for_privacy_as_far_as_anybody_knows(dataset):
    assert explained(dataset) is None


@pytest.mark.parametrize("by", ["recipe", "GeneratedBy"])
def test_a_key_that_a_dataset_of_ours_leaves_out_is_explained(dataset, by):
    if by == "recipe":
        (dataset / "code" / "release_kit").mkdir(parents=True)
        (dataset / "code" / "release_kit" / "recipe.yaml").write_text("privacy: {}\n", encoding="utf-8")
    else:
        described = {"Name": "x", "BIDSVersion": "1.11.1", "GeneratedBy": [{"Name": "release_kit"}]}
        (dataset / "dataset_description.json").write_text(json.dumps(described), encoding="utf-8")
    assert "so that nothing identifies anybody" in explained(dataset)


UNLIKE = Finding(
    code="header-differs", severity=WARNING, path="sub-02/func/sub-02_task-film_run-01_bold.nii.gz", family="images",
    what="matrix is 4 x 4 x 5, 3 of 4 have 4 x 4 x 3", next_step="", source="own",
)  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "explains"),
    [
        ({"code": "geometry", "reason": "another scanner"}, True),
        ({"code": "geometry", "reason": "another scanner", "where": "sub-02 task-film run-1"}, True),
        ({"code": "geometry", "reason": "another scanner", "where": "sub-03"}, False),
        ({"code": "geometry", "reason": "another scanner", "where": "elsewhere"}, False),
        ({"code": "tr", "reason": "another sequence"}, False),
    ],
)
def test_what_a_recipe_allows_with_a_reason_is_explained_by_it(dataset, entry, explains):
    (found,) = with_explanations(survey_dataset(dataset), Privacy(), [UNLIKE], [entry])
    assert found.explained == ("the recipe allows it: another scanner" if explains else None)
    (dataset / "code" / "release_kit").mkdir(parents=True)
    (dataset / "code" / "release_kit" / "recipe.yaml").write_text(json.dumps({"allow": [entry]}), encoding="utf-8")
    (inside,) = with_explanations(survey_dataset(dataset), Privacy(), [UNLIKE])
    assert inside.explained == found.explained


def test_strict_says_why_a_valid_dataset_fails():
    report = ValidationReport(
        name="x", facts={}, verdicts=(), validator_version="1", findings=(UNLIKE,), not_checked=()
    )
    assert report.strict_failure() == "fails by --strict: 1 warning that nothing explains"
    assert replace(report, findings=()).strict_failure() is None
    assert replace(report, findings=(replace(UNLIKE, severity=ERROR),)).strict_failure() is None
