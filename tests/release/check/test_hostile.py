"""Whatever lies on disk, ``check`` reports; it never stops half-way and never shows a traceback."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import study_factory
from cli_in_process import release_kit
from hypothesis import given, settings
from hypothesis import strategies as st
from study_factory import change_study, find_cell, write_json

from release_kit.core.cell import read_cell, write_cell
from release_kit.core.study import read_study
from release_kit.release.build import build_release
from release_kit.release.check import check_study
from release_kit.release.check.sarif import sarif_bytes
from release_kit.release.check.text import report_text

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**20), st.floats(), st.text(max_size=8),
    st.sampled_from(["tiny-llama", "../x", "/", "model.safetensors", "lora"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = {
    "config.json": (
        "model_type", "hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "intermediate_size", "head_dim", "text_config", "_name_or_path", "auto_map", "quantization_config",
    ),
    "trainer_state.json": ("global_step", "epoch", "seed"),
    "adapter_config.json": ("base_model_name_or_path", "peft_type", "r", "rank_pattern", "target_modules", "auto_map"),
    "model.safetensors.index.json": ("weight_map", "metadata"),
    "tokenizer_config.json": ("auto_map", "trust_remote_code"),
}  # fmt: skip
SMALL = {"datasets": ("lima",), "seeds": (1,), "benchmarks": (), "with_base": False}
PROVENANCE = ("base_model", "data", "seed", "artifact", "global_step", "epoch")


def documents(keys):
    return st.one_of(VALUES, st.fixed_dictionaries({}, optional={key: VALUES for key in keys}))


@settings(max_examples=25, deadline=None)
@given(
    contents=st.fixed_dictionaries({}, optional={name: documents(keys) for name, keys in KEYS.items()}),
    provenance=st.fixed_dictionaries({}, optional={key: VALUES for key in PROVENANCE}),
    method=st.sampled_from(["full", "lora"]),
)
def test_any_json_in_configurations_and_provenance(contents, provenance, method):
    with tempfile.TemporaryDirectory() as temporary:
        study = study_factory.make_study(Path(temporary), **SMALL)
        folder = find_cell(study, method=method)
        for name, value in contents.items():
            (folder / "model" / name).write_text(json.dumps(value))
        cell = read_cell(folder / "cell.json")
        clean = json.loads(json.dumps(provenance), parse_constant=lambda name: None)
        write_cell(study.folder, type(cell).from_dict({**cell.to_dict(), "provenance": clean}))
        report = check_study(read_study(study.folder))
        assert json.dumps(report.to_dict(), allow_nan=False)
        assert report_text(report)


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["model.safetensors", "config.json", "notes.txt", "x.npz", "x.bin"]))
def test_any_bytes_in_any_file(content, name):
    with tempfile.TemporaryDirectory() as temporary:
        study = study_factory.make_study(Path(temporary), **SMALL)
        (find_cell(study, method="full") / "model" / name).write_bytes(content)
        assert report_text(check_study(read_study(study.folder)))


@pytest.mark.parametrize(
    "properties", [{"path": "/nowhere"}, {"path": 5}, {"path": ".."}, {"license": 7}, {"license": ["mit"]}, {}]
)
def test_any_properties_of_a_base_model(make_study, properties):
    study = make_study(datasets=("lima",), benchmarks=(), with_base=False)
    factors = {"base_model": {"tiny-llama": properties}, "dataset": ["lima"], "method": ["full", "lora"]}
    assert report_text(check_study(change_study(study, factors=factors)))


@pytest.mark.parametrize("value", [[], {}, 5, None, "", [["llama"]]])
def test_any_type_at_the_keys_that_are_looked_at(make_study, value):
    study = make_study(**SMALL)
    for method in ("full", "lora"):
        for name, keys in KEYS.items():
            path = find_cell(study, method=method) / "model" / name
            for key in keys if path.exists() else ():
                before = path.read_bytes()
                write_json(path, {**json.loads(before), key: value})
                assert report_text(check_study(study))
                path.write_bytes(before)


def test_nested_and_enormous_json(make_study):
    study = make_study()
    folder = find_cell(study, dataset="lima", method="full", seed=1) / "model"
    (folder / "config.json").write_text("[" * 100_000)
    (folder / "trainer_state.json").write_text('{"global_step": ' + "9" * 5000 + "}")
    codes = [each.code for each in check_study(study).problems]
    assert "config-broken" in codes


def test_link_that_leads_nowhere_and_link_that_leads_in_a_circle(make_study):
    study = make_study()
    folder = find_cell(study, dataset="lima", method="full", seed=1) / "model"
    (folder / "lost.txt").symlink_to("nowhere")
    (folder / "again").symlink_to(folder)
    assert check_study(study).problems == ()


def test_artifact_that_is_a_file_and_cells_that_are_files(make_study):
    study = make_study()
    folder = find_cell(study, dataset="lima", method="full", seed=1)
    for path in (folder / "model").iterdir():
        path.unlink()
    (folder / "model").rmdir()
    write_json(folder / "model", {})
    write_json(study.folder / "cells" / "stray.json", {})
    assert [each.code for each in check_study(study).problems] == ["weights-absent"]


def test_place_names_with_brackets_are_shown_as_they_are(make_study):
    study = make_study(datasets=("lima", "a[b]c"))
    (find_cell(study, dataset="a[b]c", method="full", seed=1) / "model" / "run[1].sh").write_text("")
    text = report_text(check_study(study))
    assert "dataset=a[b]c" in text and "run[1].sh" in text


def test_names_that_a_terminal_would_obey_are_written_out(make_study):
    study = make_study()
    model = find_cell(study, dataset="lima", method="full", seed=1) / "model"
    build_release(study)
    for name in (b"new\nline.txt", b"red\x1b[31m.txt", b"stray\xff.txt"):
        with open(os.path.join(os.fsencode(model), name), "wb") as stream:
            stream.write(b"x")
    report = check_study(read_study(study.folder))
    assert r"new\nline.txt, red\x1b[31m.txt, stray\udcff.txt" in report_text(report)
    assert json.loads(sarif_bytes(report))["runs"][0]["results"]
    outcome = release_kit("check", study.folder, "--json")
    assert "stray\udcff.txt" in json.loads(outcome.stdout.encode())["problems"][-1]["what"]
