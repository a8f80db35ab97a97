"""The released table of the paper gives the figures that others computed from it, doubtful base rows named.

The table has no licence and is not part of this repository; the tests read it from ``../shared/data`` and skip where
it is absent.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from release_kit.core.study import Study, read_study
from release_kit.sft.analysis.cells import cell_facts, primary_metrics, read_rows
from release_kit.sft.analysis.claims import analyse_table
from release_kit.sft.analysis.compare import compare_methods, compare_sizes
from release_kit.sft.analysis.doubtful import find_doubtful
from release_kit.sft.analysis.effects import make_trajectories
from release_kit.sft.analysis.gains import GainFrame, base_scores, make_gains
from release_kit.sft.analysis.pca import make_components
from release_kit.sft.analysis.transfer import make_transfers

ROOT = Path(__file__).parents[3]
TABLE = ROOT.parent / "shared" / "data" / "massive-sft" / "evaluation_result.csv"

pytestmark = pytest.mark.skipif(not TABLE.is_file(), reason="the massive-sft table is not on this machine")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("massive")
    shutil.copy(ROOT / "studies" / "massive-sft.yaml", folder / "study.yaml")
    shutil.copy(TABLE, folder)
    return read_study(folder)


@pytest.fixture(scope="module")
def doubts(study):
    rows, _, _ = read_rows(study)
    return find_doubtful(study, base_scores(rows, cell_facts(study)))


@pytest.fixture(scope="module")
def frame(study, doubts) -> GainFrame:
    rows, _, _ = read_rows(study)
    facts = cell_facts(study)
    return GainFrame(make_gains(study, rows, facts, base_scores(rows, facts), doubts)[0])


def _metrics(frame: GainFrame, *benchmarks: str):
    chosen = {metric.benchmark: metric for metric in primary_metrics(frame.metrics())}
    return [chosen[name] for name in benchmarks]


def test_the_doubtful_base_rows_are_named(doubts):
    named = {(doubt.base_model, doubt.kind, doubt.other) for doubt in doubts}
    assert ("Mistral-7B-v0.1", "identical", "Chinese-Mistral-7B-v0.1") in named
    assert ("Chinese-Mistral-7B-v0.1", "identical", "Mistral-7B-v0.1") in named
    shared = next(d for d in doubts if d.base_model == "OLMo-7B-hf" and d.kind == "shared")
    assert shared.other == "LLM-jp-3-7B" and len(shared.metrics) == 12
    low = {(d.base_model, metric.label) for d in doubts if d.kind == "below-chance" for metric in d.metrics}
    assert sum(label == "BoolQ 5-shot score" for _, label in low) == 10, "all but Yi"
    assert ("OLMo-7B-hf", "mmlu 5-shot score") in low and ("LLM-jp-3-7B", "mmlu 5-shot score") in low
    sound = {"Yi-1.5-9B"}
    assert not sound & {doubt.base_model for doubt in doubts}


def test_five_components_explain_less_than_the_paper_says(frame):
    twelve = _metrics(
        frame, "math", "gsm8k", "humaneval", "mbpp", "BoolQ", "nq", "Truthful_QA", "mmlu", "cmmlu", "jmmlu", "mtbench",
        "alpaca_eval_v2",
    )  # fmt: skip
    found = make_components(frame.having(method="full", data_size=1000, schedule="cosine"), twelve)[0]
    assert [round(100 * estimate.value, 1) for estimate in found.cumulative[4:6]] == [87.7, 92.1]
    assert found.dropped == ("Gemma2-9B",) and len(found.bases) == 10 and len(found.datasets) == 10
    assert 0.6 < np.cumsum(found.null_shares)[4] < 0.72, "shuffled datasets explain two thirds with five components"


def test_knowledge_transfers_between_languages(frame):
    metrics = _metrics(frame, "cmmlu", "jmmlu", "mmlu")
    every = {(t.first.benchmark, t.second.benchmark): t.r for t in make_transfers(frame, metrics)}
    assert round(every["jmmlu", "mmlu"].value, 2) == 0.71
    assert round(every["cmmlu", "mmlu"].value, 2) == 0.31
    assert round(every["cmmlu", "jmmlu"].value, 2) == 0.20
    sound = {(t.first.benchmark, t.second.benchmark): t.r for t in make_transfers(frame.sound(), metrics)}
    assert sound["jmmlu", "mmlu"].n < every["jmmlu", "mmlu"].n == 996
    assert sound["jmmlu", "mmlu"].n_units == 7 and every["jmmlu", "mmlu"].n_units == 11


def test_lora_against_full_by_task(frame):
    found = {c.metric.label: c for c in compare_methods(frame.having(data_size=1000))}
    shares = {label.split()[0]: round(100 * c.wins.value) for label, c in found.items() if " 0-shot" in label}
    shares["mtbench"] = round(100 * found["mtbench total"].wins.value)
    expected = {
        "hellaswag": 76,
        "jmmlu": 76,
        "cmmlu": 70,
        "mtbench": 79,
        "BoolQ": 64,
        "mmlu": 61,
        "gsm8k": 38,
        "nq": 45,
    }
    assert {name: shares[name] for name in expected} == expected and shares["math"] == 45
    assert {c.wins.n for c in found.values()} == {99, 109}
    assert found["mmlu 0-shot score"].wins.low < 0.5 < found["hellaswag 0-shot score"].wins.low


def test_more_data_against_less_by_task(frame):
    found = {c.metric.label: c for c in compare_sizes(frame.having(schedule="constant"))}
    shares = {label.split()[0]: round(100 * c.wins.value) for label, c in found.items() if " 0-shot" in label}
    expected = {"mmlu": 69, "jmmlu": 78, "mbpp": 40, "gsm8k": 39}
    assert {name: shares[name] for name in expected} == expected
    comparison = found["mmlu 0-shot score"]
    assert (comparison.first, comparison.second, comparison.wins.n) == ("20000", "1000", 270)
    assert comparison.wins.over == "run" and comparison.wins.n_units == 27, "270 pairs of epochs are 27 runs"


def test_epochs_on_the_union_of_all_datasets(frame):
    points = make_trajectories(frame.having(dataset="all", method="full"))
    by_epoch = {(p.metric.label, p.epoch): p.gain.value for p in points}
    assert round(by_epoch["mtbench total", 1], 2) == 0.39 and round(by_epoch["mtbench total", 10], 2) == 1.42
    assert round(by_epoch["gsm8k 0-shot score", 1], 1) == 12.3 and round(by_epoch["gsm8k 0-shot score", 10], 1) == 2.4
    assert round(by_epoch["humaneval 0-shot score", 2], 1) == 14.2
    assert round(by_epoch["humaneval 0-shot score", 10], 1) == -0.2


@pytest.mark.slow
def test_the_whole_analysis_of_the_table(study):
    analysis = analyse_table(study)
    verdicts = {verdict.claim: verdict for verdict in analysis.findings.verdicts}
    assert verdicts["five-components"].verdict == "does not hold"
    assert verdicts["knowledge-transfers-to-japanese"].verdict == "holds"
    assert verdicts["perplexity-predicts-gain"].verdict == "cannot be told"
    assert verdicts["bases-cluster"].verdict == "holds"
    assert "placed by their scores" in verdicts["bases-cluster"].reason
    beside = {verdict.claim: verdict for verdict in analysis.beside.verdicts}
    japanese = "knowledge-transfers-to-japanese"
    assert beside[japanese].estimate.n == 996 > verdicts[japanese].estimate.n
    assert {gap.section for gap in analysis.missing} == {"relations", "depth", "map"}
    assert analysis.map.vectors == "scores of metrics" and analysis == analyse_table(study)
