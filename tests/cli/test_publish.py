"""``release-kit publish`` as people and programs call it."""

import json
import shutil
from pathlib import Path

import pytest
from publish_hub import n_writes
from study_factory import make_study

from release_kit.cli import cli
from release_kit.cli.output import run
from release_kit.cli.publish import publish_command
from release_kit.hub.server import LocalHub
from release_kit.release.build import build_release


@pytest.fixture
def study(tmp_path):
    """Return the folder of a built study."""
    made = make_study(tmp_path / "study", datasets=("alpaca",), methods=("lora",), seeds=(0,))
    build_release(made)
    return made.folder


@pytest.fixture
def hub(tmp_path):
    """Serve an empty Hub."""
    with LocalHub(tmp_path / "hub") as served:
        yield served


@pytest.fixture
def release_kit(capsys):
    """Return a function that runs the command line and returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run(cli, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_publish_says_what_it_did_and_how_to_download(release_kit, study, hub):
    code, out, err = release_kit("publish", study, "--to", "lab", "--endpoint", hub.endpoint)
    assert (code, err) == (0, "")
    assert out.startswith("published lab/tiny-grid@v1.0.0: 2 cells in 4 repos (layout repos)\n")
    assert "release-kit download lab/tiny-grid@v1.0.0 FOLDER" in out
    assert f"{hub.endpoint}/lab/tiny-grid" in out
    code, out, _ = release_kit("publish", study, "--to", "lab", "--endpoint", hub.endpoint)
    assert code == 0
    assert out.startswith("lab/tiny-grid@v1.0.0 is published already; nothing was sent\n")


def test_json_holds_what_a_program_needs(release_kit, study, hub):
    code, out, _ = release_kit("publish", study, "--to", "lab", "--endpoint", hub.endpoint, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["ok"] is True
    assert report["reference"] == "lab/tiny-grid@v1.0.0"
    wanted = {"n_repos": 4, "n_commits": 4, "n_tags": 4, "n_cells": 2, "layout": "repos"}
    assert {key: report[key] for key in wanted} == wanted
    assert report["n_requests"] == len(hub.requests)


def test_dry_run_sends_nothing_and_says_why_and_how_long(release_kit, study, hub):
    arguments = ("publish", study, "--to", "lab", "--endpoint", hub.endpoint, "--dry-run", "--tier", "free")
    code, out, _ = release_kit(*arguments)
    assert code == 0
    assert hub.requests == []
    for part in ("layout   repos — 2 cells", "repos    4:", "commits", "enterprise-plus", "free             0 s ←"):
        assert part in out
    code, out, _ = release_kit(*arguments, "--json")
    assert json.loads(out)["plan"]["n_repos"] == 4


def test_namespace_and_layout_can_stand_in_the_study(release_kit, hub, tmp_path):
    extra = {"namespace": "my-lab", "layout": "folders"}
    study = make_study(tmp_path / "s", datasets=("alpaca",), methods=("lora",), seeds=(0,), extra=extra)
    build_release(study)
    code, out, _ = release_kit("publish", study.folder, "--endpoint", hub.endpoint, "--json")
    assert (code, json.loads(out)["layout"]) == (0, "folders")
    assert json.loads(out)["reference"].startswith("my-lab/")


def test_no_collection_makes_none(release_kit, study, hub):
    code, out, _ = release_kit("publish", study, "--to", "lab", "--endpoint", hub.endpoint, "--no-collection", "--json")
    assert (code, json.loads(out)["collection"]) == (0, None)
    assert not any("/collections" in record.path for record in hub.requests)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--to", "bad--name"], 1, "bad--name"),
        (["--endpoint", "ftp://x", "--to", "lab"], 2, "not the address of a Hub"),
        (["--layout", "piles", "--to", "lab"], 2, "piles"),
        ([], 2, "--to NAMESPACE"),
        (["--tier", "gold", "--to", "lab"], 2, "gold"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(release_kit, study, hub, arguments, code, said):
    endpoint = [] if "--endpoint" in arguments else ["--endpoint", hub.endpoint]
    got, out, err = release_kit("publish", study, *endpoint, *arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    assert n_writes(hub) == 0


def test_unbuilt_study_and_no_study_name_the_next_step(release_kit, hub, tmp_path):
    folder = make_study(tmp_path / "unbuilt", datasets=("alpaca",), methods=("lora",), seeds=(0,)).folder
    code, _, err = release_kit("publish", folder, "--to", "lab", "--endpoint", hub.endpoint)
    assert code == 1 and "release-kit build" in err
    code, _, err = release_kit("publish", tmp_path / "none", "--to", "lab", "--endpoint", hub.endpoint)
    assert code == 1 and "study.yaml" in err


def test_read_only_study_folder_is_named(release_kit, study, hub):
    shutil.rmtree(study / ".release_kit", ignore_errors=True)
    (study / ".release_kit").write_text("in the way")
    code, _, err = release_kit("publish", study, "--to", "lab", "--endpoint", hub.endpoint)
    assert code == 1
    assert ".release_kit" in err and "Traceback" not in err
    assert n_writes(hub) == 0


def test_what_check_refuses_is_not_published_unless_asked_for(release_kit, study, hub):
    weights = next((study / "cells").glob("*/model/adapter_model.safetensors"))
    (weights.parent / "notes.pkl").write_bytes(b"\x80\x04N.")
    assert release_kit("build", study)[0] == 0
    arguments = ("publish", study, "--to", "lab", "--endpoint", hub.endpoint)
    code, out, err = release_kit(*arguments)
    assert (code, out) == (1, "")
    assert "check finds 1 error:" in err and "--despite-errors" in err
    assert hub.requests == []
    code, out, _ = release_kit(*arguments, "--despite-errors")
    assert code == 0 and out.startswith("published")


def test_a_plan_of_what_check_refuses_says_so_and_exits_1(release_kit, study, hub):
    (next((study / "cells").glob("*/model")) / "added.txt").write_text("since the build")
    arguments = ("publish", study, "--to", "lab", "--endpoint", hub.endpoint, "--dry-run")
    code, out, _ = release_kit(*arguments)
    assert code == 1
    assert "plan for lab/tiny-grid@v1.0.0" in out
    assert "check finds 1 error: release-stale" in out and f"run: release-kit build {study}" in out
    code, out, _ = release_kit(*arguments, "--json")
    value = json.loads(out)
    assert (code, value["ok"], value["plan"]["n_cells"]) == (1, False, 2)
    assert value["refused"]["next_step"] == f"run: release-kit build {study}"
    assert release_kit(*arguments, "--despite-errors")[0] == 0
    assert hub.requests == []


def test_cards_that_do_not_say_where_they_lie_are_noted(release_kit, hub, tmp_path):
    def notes(folder, to, **extra):
        study = make_study(tmp_path / folder, datasets=("alpaca",), methods=("lora",), seeds=(0,), extra=extra)
        build_release(study)
        arguments = ("publish", study.folder, "--to", "lab", "--layout", to, "--endpoint", hub.endpoint, "--json")
        planned = json.loads(release_kit(*arguments, "--dry-run")[1])["plan"]["notes"]
        assert json.loads(release_kit(*arguments)[1])["notes"] == planned
        return planned

    silent = notes("silent", "repos")
    assert silent == [
        "the cards do not say where the cells lie: set `namespace: lab` and `layout: repos` in study.yaml, build and "
        "publish again"
    ]
    (wrong,) = notes("wrong", "folders", namespace="lab", layout="branches", name="other-grid")
    assert wrong.startswith("the cards follow `layout: branches` of study.yaml: set `layout: folders`")
    assert notes("right", "folders", namespace="lab", layout="folders", name="right-grid") == []


def test_every_option_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "publish.md").read_text(encoding="utf-8")
    options = {name for parameter in publish_command.params for name in parameter.opts if name.startswith("--")}
    assert sorted(name for name in options if name not in text) == []
