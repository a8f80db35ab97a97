"""The table of dataset properties: complete, traceable, resumable, and mixtures that follow from their parts."""

import hashlib
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli_in_process import release_kit

from release_kit.core.study import Study, read_study
from release_kit.sft.measure.properties import HITS_FILE, PROPERTIES_FILE, measure_properties, update_properties

from .conftest import COLOURS, DOCUMENTS, SUMS, make_cells, study_document, write_lines

TABLES = (PROPERTIES_FILE, HITS_FILE)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random BERT with a word tokenizer: the real encoder is tested in ``test_similarity.py``."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = ["<pad>", "<unk>", "plus", "what", "is", "the", "colour", "of", "question", "answer"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def _values(study: Study) -> dict[tuple, float]:
    rows = pq.ParquetFile(study.folder / PROPERTIES_FILE).read().to_pylist()
    return {(r["dataset"], r["base_model"], r["benchmark"], r["property"]): r["value"] for r in rows}


def _bytes(study: Study) -> list[bytes]:
    return [(study.folder / name).read_bytes() for name in TABLES]


def test_every_dataset_is_measured_for_every_base_and_benchmark(measured_study: Study, tiny_encoder: Path):
    report = update_properties(measured_study, encoder=tiny_encoder)
    assert report.ok
    values = _values(measured_study)
    assert len(values) == report.n_rows == 3 * (2 + 2 * 6 + 5)
    assert all(math.isfinite(value) for value in values.values())
    assert values["sums", None, None, "n_examples"] == len(SUMS)
    # 0 plus 0, 1 plus 1 and 2 plus 2 stand among the sums, with their answers.
    assert values["sums", None, "sums_test", "contamination"] == 3 / len(DOCUMENTS)
    assert values["colours", None, "sums_test", "contamination"] == 0
    similar = values["sums", None, "sums_test", "lexical_similarity"]
    assert similar > values["all", None, "sums_test", "lexical_similarity"] > 0


def test_rows_name_the_digests_of_what_they_follow_from(measured_study: Study, tiny_encoder: Path, tiny_bases: Path):
    update_properties(measured_study, encoder=tiny_encoder)
    rows = pq.ParquetFile(measured_study.folder / PROPERTIES_FILE).read().to_pylist()
    data, task, base = (
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (measured_study.folder / "data/sums.jsonl", measured_study.folder / "data/sums-test.jsonl",
                     tiny_bases / "tiny-a/model.safetensors")
    )  # fmt: skip
    assert {r["data_sha256"] for r in rows if r["dataset"] == "sums"} == {data}
    assert {r["benchmark_sha256"] for r in rows if r["benchmark"]} == {task}
    assert {r["base_digest"] for r in rows if r["base_model"] == "tiny-a"} == {base}


def test_hits_lead_to_the_lines_that_hold_them(measured_study: Study, tiny_encoder: Path):
    update_properties(measured_study, encoder=tiny_encoder)
    hits = pq.ParquetFile(measured_study.folder / HITS_FILE).read().to_pylist()
    lines = (measured_study.folder / "data" / "sums.jsonl").read_text().splitlines()
    mine = [hit for hit in hits if hit["dataset"] == "sums"]
    assert [hit["document"] for hit in mine] == [0, 1, 2]
    for hit in mine:
        example = json.loads(lines[hit["line"] - 1])
        assert f"{hit['document']} plus {hit['document']}?" in example["prompt"]
        assert hit["ngram"].startswith("question")


def test_a_mixture_follows_from_its_parts(measured_study: Study, tiny_encoder: Path):
    """Without ``data_size`` a mixture is the union: its perplexity weighs the parts by their tokens."""
    update_properties(measured_study, encoder=tiny_encoder)
    values = _values(measured_study)
    n = {"sums": sum(len(r["completion"]) + 1 for r in SUMS), "colours": sum(len(r["response"]) + 1 for r in COLOURS)}
    loss = sum(n[part] * math.log(values[part, "tiny-a", None, "perplexity_completion"]) for part in n)
    assert values["all", "tiny-a", None, "perplexity_completion"] == pytest.approx(math.exp(loss / sum(n.values())))
    assert values["all", None, None, "n_examples"] == len(SUMS) + len(COLOURS)


def test_sample_of_a_large_file_is_fixed_and_says_how_large_it_is(measured_study: Study, tiny_encoder: Path):
    update_properties(measured_study, max_examples=4, encoder=tiny_encoder)
    rows = pq.ParquetFile(measured_study.folder / PROPERTIES_FILE).read().to_pylist()
    assert {r["n"] for r in rows if r["dataset"] == "sums" and r["base_model"]} == {4}
    before = _values(measured_study)
    write_lines(measured_study.folder / "data" / "sums.jsonl", SUMS[::-1])
    update_properties(measured_study, max_examples=4, encoder=tiny_encoder)
    assert _values(measured_study) == before, "the order of a file changes nothing"


def test_interrupted_measurement_continues_and_ends_with_the_same_bytes(measured_study: Study, tiny_encoder: Path):
    update_properties(measured_study, encoder=tiny_encoder)
    whole = _bytes(measured_study)
    shutil.rmtree(measured_study.folder / "tables")
    shutil.rmtree(measured_study.folder / ".release_kit")

    def stop_in_the_middle(event) -> None:
        if event.n_done == event.n_total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_properties(measured_study, stop_in_the_middle, encoder=tiny_encoder)
    report = update_properties(measured_study, encoder=tiny_encoder)
    assert report.n_remembered > 0
    assert report.n_computed > 0
    assert _bytes(measured_study) == whole
    again = update_properties(measured_study, encoder=tiny_encoder)
    assert (again.n_computed, again.changed) == (0, False)


def test_only_what_follows_from_a_change_is_measured_again(measured_study: Study, tiny_encoder: Path):
    update_properties(measured_study, encoder=tiny_encoder)
    before = _values(measured_study)
    changed = [*COLOURS, {"instruction": "What is the colour of the rose?", "response": "The rose is red."}]
    write_lines(measured_study.folder / "data" / "colours.jsonl", changed)
    report = update_properties(measured_study, encoder=tiny_encoder)
    after = _values(measured_study)
    # Two perplexities, the embeddings, the words of colours and of the mixture, the contamination.
    assert report.n_computed == 6
    assert {key for key in after if key[0] == "sums" and after[key] != before[key]} == set()
    assert after["colours", "tiny-a", None, "perplexity_full"] != before["colours", "tiny-a", None, "perplexity_full"]


def test_what_cannot_be_measured_is_named_once_and_the_rest_is_there(measured_study: Study, tiny_encoder: Path):
    (measured_study.folder / "data" / "colours.jsonl").unlink()
    (measured_study.folder / "bases" / "tiny-b" / "model.safetensors").unlink()
    report = update_properties(measured_study, encoder=tiny_encoder)
    assert len(report.problems) == 2, report.problems
    assert {key[0] for key in _values(measured_study)} == {"sums"}
    assert {key[1] for key in _values(measured_study)} == {None, "tiny-a"}


def test_a_base_that_no_run_trains_on_a_dataset_still_has_its_perplexity(measured_study: Study, tiny_encoder: Path):
    import yaml

    document = study_document()
    document["exclude"] = [{"base_model": "tiny-b", "dataset": "sums"}, {"base_model": "tiny-b", "dataset": "all"}]
    (measured_study.folder / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    update_properties(read_study(measured_study.folder), encoder=tiny_encoder)
    assert ("sums", "tiny-b", None, "perplexity_completion") in _values(measured_study)


def test_command_measures_and_says_what_it_did(measured_study: Study):
    make_cells(measured_study, lambda levels: levels["method"] == "full" and levels["dataset"] == "sums")
    outcome = release_kit("sft", "measure", measured_study.folder, "--layers", "--json")
    value = json.loads(outcome.stdout)
    assert (outcome.returncode, value["ok"], value["layers"]["n_computed"]) == (0, True, 2)
    assert value["layers"]["table"] == "tables/layer_changes.parquet"
    assert "properties" not in value
    text = release_kit("sft", "measure", measured_study.folder, "--layers").stdout
    assert text == ("tables/layer_changes.parquet: 49 rows, unchanged (0 parts measured, 2 known before)\n")
    (measured_study.folder / "data" / "colours.jsonl").unlink()
    failed = release_kit("sft", "measure", measured_study.folder, "--properties")
    assert failed.returncode == 1
    assert "not measured (" in failed.stdout
    assert "colours.jsonl" in failed.stdout


@pytest.mark.slow
def test_random_kills_change_no_byte(measured_study: Study):
    make_cells(measured_study, lambda levels: levels["method"] == "full")
    tables = (*TABLES, "tables/layer_changes.parquet")
    command = [sys.executable, "-m", "release_kit", "sft", "measure", str(measured_study.folder)]
    subprocess.run(command, check=True, capture_output=True)
    whole = [(measured_study.folder / name).read_bytes() for name in tables]
    shutil.rmtree(measured_study.folder / "tables")
    shutil.rmtree(measured_study.folder / ".release_kit")
    rng, parts = random.Random(0), measured_study.folder / ".release_kit" / "measure"
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = len(list(parts.rglob("*.parquet"))) + rng.randint(1, 3)
        deadline = time.monotonic() + 120
        while len(list(parts.rglob("*.parquet"))) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    assert [(measured_study.folder / name).read_bytes() for name in tables] == whole
    assert not list(parts.rglob(".rk-tmp-*")), "nothing half-written is left behind"


def test_function_of_the_contract_returns_the_path_of_the_table(measured_study: Study):
    assert measure_properties(measured_study, max_examples=2) == measured_study.folder / PROPERTIES_FILE
