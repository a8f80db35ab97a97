"""Pickles, code, secrets and traces of people in artifacts; and the report never holds the secret itself."""

import io
import json
import pickle
import re
import zipfile

import numpy as np
import pytest
from study_factory import change_json, find_cell, read_tensors, write_json, write_safetensors

from release_kit.release.build import build_release
from release_kit.release.check import check_study
from release_kit.release.check.secrets import BLOCK_BYTES, find_secrets

LIMA = "base_model=tiny-llama dataset=lima method=full seed=1"
A36 = "abcdefghijklmnopqrstuvwxyz0123456789"

# Put together here, so that no scanner of this repository takes them for real ones.
SECRETS = {
    "a Hugging Face token": "hf_" + A36[:34],
    "an OpenAI key": "sk-" + "proj-" + A36 + A36,
    "an Anthropic key": "sk-" + "ant-api03-" + A36 + A36,
    "an AWS access key": "AKIA" + "QWERTYUIOPASDFGH",
    "a GitHub token": "ghp_" + A36,
    "a GitLab token": "glpat-" + A36[:20],
    "a Slack token": "xoxb-" + "1234567890-abc",
    "a Google key": "AIza" + A36[:35],
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a password in an address": "https://someone:" + "hunter22@example.org/data",
    "a credential": '"api_key": "' + A36[:16] + '"',
}


def model_folder(study, method="full"):
    return find_cell(study, dataset="lima", method=method, seed=1) / "model"


def torch_file() -> bytes:
    """What PyTorch writes: a zip whose first entry is a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))
    return buffer.getvalue()


def npz_file(array) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, array=array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", torch_file()),
        ("extra/state.pt", torch_file()),
        ("state.bin", pickle.dumps({"a": 1})),
        ("state.pkl", b""),
        ("features.npz", npz_file(np.array([{"a": 1}], dtype=object))),
    ],
)
def test_pickles_are_found_by_name_and_by_content(make_study, only, name, content):
    study = make_study()
    path = model_folder(study) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    (found,) = only(study, "pickle", LIMA, severity="error")
    assert found.path.endswith(f"model/{name}")


@pytest.mark.parametrize(
    ("name", "content"),
    [("weights.bin", b"ggml" + bytes(100)), ("features.npz", npz_file(np.ones(3))), ("notes.txt", b"fine\n")],
)
def test_binary_files_without_a_pickle_are_let_through(make_study, name, content):
    study = make_study()
    (model_folder(study) / name).write_bytes(content)
    assert check_study(study).problems == ()


def test_state_of_the_trainer_that_is_never_released_is_let_through(make_study):
    study = make_study()
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth"):
        (model_folder(study) / name).write_bytes(torch_file())
    assert check_study(study).problems == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [("modeling_x.py", b""), ("run.sh", b""), ("run", b"#!/bin/sh\n"), ("tool", b"\x7fELF\x02\x01"), ("x.so", b"")],
)
def test_code_is_found_by_name_and_by_content(make_study, only, name, content):
    study = make_study()
    (model_folder(study) / name).write_bytes(content)
    only(study, "script", LIMA)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_configuration_that_asks_for_code(make_study, only, name):
    study = make_study()
    change_json(model_folder(study) / name, auto_map={"AutoModel": "modeling_x.Model"})
    (found,) = only(study, "remote-code", LIMA)
    assert "auto_map" in found.what


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_secrets_are_found_and_never_repeated(make_study, only, kind):
    study = make_study()
    (model_folder(study) / "notes.txt").write_text(f"first line\nand here {SECRETS[kind]} it is\n")
    (found,) = only(study, "secret", f"{LIMA}: notes.txt")
    assert f"line 2 holds {kind}" in found.what
    assert SECRETS[kind] not in json.dumps(found.to_dict())


def test_secret_in_the_provenance_of_a_cell(make_study, only):
    from release_kit.core.cell import read_cell, write_cell

    study = make_study()
    path = find_cell(study, dataset="lima", method="full", seed=1) / "cell.json"
    cell = read_cell(path)
    provenance = {**cell.provenance, "environment": {"HF_TOKEN": SECRETS["a Hugging Face token"]}}
    write_cell(study.folder, type(cell).from_dict({**cell.to_dict(), "provenance": provenance}))
    only(study, "secret", f"{LIMA}: cell.json")


def test_secret_in_the_header_of_a_safetensors_file(make_study, only):
    study = make_study()
    path = model_folder(study) / "model.safetensors"
    write_safetensors(path, read_tensors(path), {"command": "train --token " + SECRETS["a Hugging Face token"]})
    (found,) = only(study, "secret", f"{LIMA}: model.safetensors")
    assert "the header holds a Hugging Face token" in found.what


def test_file_of_credentials_by_its_name(make_study, only):
    study = make_study()
    (model_folder(study) / ".env").write_text("EMPTY=\n")
    only(study, "secret", f"{LIMA}: .env")


@pytest.mark.parametrize("path", ["/home/alice/runs/7", "/Users/alice/runs/7", "C:\\\\Users\\\\alice\\\\runs"])
def test_paths_in_home_folders(make_study, only, path):
    study = make_study()
    text = '{"best_model_checkpoint": "' + path + '"}'
    (model_folder(study) / "notes.json").write_text(text)
    only(study, "home-path", f"{LIMA}: notes.json")


@pytest.mark.parametrize(
    "text",
    [
        '{"eos_token": "</s>", "pad_token": "<pad_token>", "token": null, "hub_token": "<HUB_TOKEN>"}',
        '{"api_key": null, "password": "", "url": "https://example.org/home/docs/page"}',
        "see https://huggingface.co/a/b, mail someone@example.org, risk-taking, task-" + A36,
        "a relative home/alice/x, a variable /home/$USER/x, the folder /home",
    ],
)
def test_ordinary_text_is_no_secret(make_study, text):
    study = make_study()
    (model_folder(study) / "notes.txt").write_text(text)
    assert [each.what for each in check_study(study).problems] == []


def test_vocabularies_are_searched_for_tokens_only(make_study, only):
    study = make_study()
    write_json(model_folder(study) / "tokenizer.json", {"/home/alice/": 1, "password: abcdefgh123": 2})
    assert check_study(study).problems == ()
    write_json(model_folder(study) / "tokenizer.json", {SECRETS["a GitHub token"]: 1})
    only(study, "secret", f"{LIMA}: tokenizer.json")


@pytest.mark.parametrize("offset", [-200, -20, -3, 0, 5])
def test_secret_across_the_border_of_two_blocks(tmp_path, offset):
    path = tmp_path / "long.txt"
    lines = (BLOCK_BYTES + offset) // 64
    text = ("x" * 63 + "\n") * lines
    text += "y" * (BLOCK_BYTES + offset - len(text)) + " " + SECRETS["a GitHub token"]
    path.write_text(text + "\n" + "z" * 5000)
    finds = find_secrets(path)
    assert {(find.kind, find.line) for find in finds} == {("a GitHub token", lines + 1)}


def test_text_beyond_the_limit_is_said_not_to_be_searched(make_study, only, tmp_path):
    from release_kit.release.check.secrets import MAX_TEXT_BYTES

    study = make_study()
    path = model_folder(study) / "log.txt"
    block = ("all quiet " * 6553 + "and\n").encode()
    with open(path, "wb") as stream:
        for _ in range(MAX_TEXT_BYTES // len(block) + 1):
            stream.write(block)
    (found,) = only(study, "scan-bounded", f"{LIMA}: log.txt", severity="note")
    assert "first 64 MiB only" in found.what


def test_secret_in_the_words_that_people_wrote_into_a_card(make_study):
    study = make_study()
    build_release(study)
    (card,) = (study.folder / "release" / "cells").glob("*lima-full-s1/README.md")
    text = card.read_text()
    opened = re.search(r"<!-- release_kit:hand-written [a-z]+ -->\n", text).group()
    card.write_text(text.replace(opened, f"{opened}Use {SECRETS['a Hugging Face token']}.\n", 1))
    found = [each for each in check_study(study).problems if each.code == "secret"]
    assert [each.path for each in found] == [card.relative_to(study.folder).as_posix()]
