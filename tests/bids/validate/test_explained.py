"""A warning of the reference validator is explained by what the dataset says, and by nothing that we suppose of it."""

import json

import pytest

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.validate.explained import with_explanations
from release_kit.bids.validate.finding import REFERENCE, WARNING, Finding
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
