"""``release-kit audit`` as people and programs see it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_in_process import release_kit
from hub_replica import put_release, pythia

from release_kit.hub.client import HubClient
from release_kit.hub.reference import Repo
from release_kit.hub.server import LocalHub
from release_kit.release.audit.finding import CODES

STEPS = tuple(range(1000, 8000, 1000))


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory) -> Iterator[str]:
    with LocalHub(root=tmp_path_factory.mktemp("hub")) as hub, HubClient(hub.endpoint) as client:
        put_release(client, Repo("lab/good"), pythia(STEPS))
        bad = pythia(STEPS)
        bad["step2000"] = dict(bad["step7000"])
        del bad["step5000"]
        put_release(client, Repo("lab/bad"), bad)
        yield hub.endpoint


def test_clean_release_exits_with_0_and_says_so(endpoint):
    outcome = release_kit("audit", "lab/good", "--endpoint", endpoint)
    assert outcome.returncode == 0, outcome.stderr
    assert "1 repo, 8 revisions" in outcome.stdout
    assert outcome.stdout.endswith("nothing wrong was found\n")


def test_defects_exit_with_1_in_text_and_json(endpoint):
    outcome = release_kit("audit", "lab/bad", "--endpoint", endpoint)
    assert outcome.returncode == 1
    assert "2 of 6 branches serve the weights of step7000" in outcome.stdout
    assert "1 of 7 labels of lab/bad@step{n} are missing" in outcome.stdout
    outcome = release_kit("audit", "lab/bad", "--endpoint", endpoint, "--json")
    value = json.loads(outcome.stdout)
    assert (outcome.returncode, value["ok"], value["counts"]["error"]) == (1, False, 2)
    assert {problem["code"] for problem in value["problems"]} == {"serves-last-weights", "missing-label"}
    assert all(set(problem) >= {"code", "severity", "where", "what", "next_step"} for problem in value["problems"])


def test_whole_account_and_address_of_a_page_are_taken(endpoint):
    value = json.loads(release_kit("audit", "lab", "--endpoint", endpoint, "--json").stdout)
    assert value["n_repos"] == 2
    value = json.loads(release_kit("audit", f"{endpoint}/lab/good", "--json").stdout)
    assert (value["ok"], value["n_revisions"]) == (True, 8)


def test_declared_series_is_checked(endpoint):
    arguments = ("audit", "lab/good", "--endpoint", endpoint, "--series", "step{n}", "--expect", "0:7000:1000")
    outcome = release_kit(*arguments)
    assert outcome.returncode == 1
    assert "1 of 8 labels" in outcome.stdout


def test_wrong_use_and_unreachable_hub_are_one_line(endpoint):
    outcome = release_kit("audit", "lab/good", "--endpoint", endpoint, "--expect", "1:3")
    assert (outcome.returncode, "--series" in outcome.stderr) == (2, True)
    outcome = release_kit("audit", "lab/nothing", "--endpoint", endpoint)
    assert (outcome.returncode, "lab/nothing" in outcome.stderr) == (1, True)
    assert "Traceback" not in outcome.stderr


def test_every_code_is_explained_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == set(CODES)
