"""A whole analysis of a study with planted effects: what was planted is found, what is missing is said."""

import json
import math
import shutil
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from sft.analysis.tables_on_disk import PEAK, planted_study

from release_kit.sft.analysis.claims import analyse_study
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.evidence import CHAT, CODE, ENGLISH, EXAMS, JAPANESE, MATHS, _share, benchmarks_like
from release_kit.sft.analysis.records import FAILS, HOLDS, UNTOLD
from release_kit.sft.analysis.tables import write_analysis
from release_kit.sft.analysis.verdicts import CLAIMS, decide


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    planted_study(folder)
    return folder


@pytest.fixture(scope="module")
def analysis(folder):
    return analyse_study(folder)


@pytest.fixture(scope="module")
def verdicts(analysis):
    return {verdict.claim: verdict for verdict in analysis.findings.verdicts}


def _estimate(value, low, high, over="base_model"):
    return Estimate(value=value, low=low, high=high, n=10, n_units=5, over=over)


def test_planted_effects_are_found(verdicts):
    held = {name for name, verdict in verdicts.items() if verdict.verdict == HOLDS}
    assert {"perplexity-predicts-gain", "perplexity-beats-length", "perplexity-beats-similarity"} <= held
    assert {"change-grows-with-depth", "gain-follows-middle-layers", "lora-keeps-knowledge"} <= held
    peak = verdicts["gain-follows-middle-layers"].estimate
    assert peak.low <= PEAK <= peak.high and peak.high - peak.low < 0.3
    assert verdicts["perplexity-predicts-gain"].estimate.value < -0.9


def test_what_was_not_planted_is_not_found(verdicts, analysis):
    assert verdicts["full-learns-maths"].verdict == UNTOLD
    assert verdicts["epochs-hurt-maths"].verdict == UNTOLD
    assert "on the union of the datasets" in verdicts["epochs-hurt-maths"].reason, "the claim is about nothing else"
    lengths = [r for r in analysis.findings.relations if r.property == "tokens_mean" and r.metric is None]
    assert all(relation.r.low < 0 < relation.r.high for relation in lengths)


def test_a_property_that_is_the_same_everywhere_goes_with_nothing(analysis):
    assert "contamination" not in {relation.property for relation in analysis.findings.relations}
    assert all(math.isfinite(relation.r.value) for relation in analysis.findings.relations)


@pytest.mark.parametrize("claim", ["change-grows-with-depth", "gain-follows-middle-layers", "five-components"])
def test_claims_about_full_fine_tuning_are_never_judged_by_lora(folder, tmp_path, claim):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    study = tmp_path / "study.yaml"
    study.write_text(study.read_text().replace("method: [full, lora]", "method: [lora]"))
    verdict = next(v for v in analyse_study(tmp_path).findings.verdicts if v.claim == claim)
    assert verdict.verdict == UNTOLD and "full" in verdict.reason


def test_every_claim_has_a_verdict_with_a_reason(verdicts):
    assert list(verdicts) == [claim.name for claim in CLAIMS]
    for verdict in verdicts.values():
        assert verdict.reason and verdict.statement.endswith(".")
        assert (verdict.estimate is not None) or verdict.verdict == UNTOLD


def test_lower_perplexity_is_better_also_in_a_benchmark_where_less_is_better(analysis):
    own = next(
        r
        for r in analysis.findings.relations
        if r.property == "perplexity_completion" and r.metric and r.metric.benchmark == "perplexed"
    )
    assert own.r.value < -0.9 and own.r.p_adjusted >= own.r.p


def test_nothing_doubtful_leaves_nothing_beside(analysis):
    assert analysis.doubtful == () and analysis.beside is None
    assert analysis.findings.n_cells == 5 * 8 * 2 * 2 * 2 and analysis.findings.n_runs == 5 * 8 * 2 * 2


def test_seeds_are_spread_not_rows(analysis):
    effect = analysis.findings.effects[0]
    assert effect.gain.over == "seed" and effect.gain.n_units == 2 and effect.gain.low is None
    noise = {n.metric.benchmark: n for n in analysis.findings.seed_noise}["mmlu"]
    assert noise.seed_sd.value == pytest.approx(0.004, rel=0.25) and noise.dataset_sd > 3 * noise.seed_sd.value
    relation = next(r for r in analysis.findings.relations if r.metric is None)
    assert relation.r.n == 5 * 8 * 2 * 4, "seeds are averaged and only last epochs count"


def test_bases_of_any_depth_share_an_axis(analysis):
    depth = analysis.findings.depth[0]
    assert depth.kind == "all" and [place.depth for place in depth.bins] == pytest.approx([i / 10 for i in range(11)])
    assert set(depth.profiles) == {"base-a", "base-b", "base-c", "base-d", "base-e"}
    best = max(depth.bins, key=lambda place: place.r_gain.value)
    assert best.depth == pytest.approx(PEAK, abs=0.11) and depth.bins[0].r_gain.value < 0.5
    assert {d.kind for d in analysis.findings.depth} == {"all", "mlp.down_proj", "self_attn.q_proj"}


def test_missing_tables_are_named_with_the_command_that_makes_them(folder, tmp_path):
    for name in ("study.yaml", "tables/results.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / name, tmp_path / name)
    analysis = analyse_study(tmp_path)
    gaps = {gap.section: gap for gap in analysis.missing}
    assert set(gaps) == {"relations", "depth", "map"}
    assert "release-kit sft measure" in gaps["depth"].next_step
    told = {verdict.claim: verdict for verdict in analysis.findings.verdicts}
    assert told["perplexity-predicts-gain"].verdict == UNTOLD
    assert "were not measured" in told["change-grows-with-depth"].reason
    assert told["lora-keeps-knowledge"].verdict == HOLDS, "the rest of the analysis goes on"


def test_the_same_study_gives_the_same_bytes(folder, analysis, tmp_path):
    first = write_analysis(tmp_path / "first", analysis)
    again = write_analysis(tmp_path / "again", analyse_study(folder))
    assert [path.name for path in first] == [path.name for path in again]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, again, strict=True))


def test_tables_are_tidy_and_name_their_sources(analysis, tmp_path):
    paths = {path.name: path for path in write_analysis(tmp_path, analysis)}
    gains = pq.ParquetFile(paths["gains.parquet"]).read()
    assert gains.num_rows == len(analysis.gains)
    assert {"benchmark", "n_shot", "metric", "gain", "doubtful"} <= set(gains.column_names)
    marks = gains.schema.metadata
    assert marks[b"release_kit.source.tables/results.parquet"].decode() == analysis.sources[0].sha256
    verdicts = json.loads(paths["verdicts.json"].read_text())
    assert len(verdicts["verdicts"]) == len(CLAIMS) and verdicts["verdicts_with_doubtful_rows"] is None


def test_a_table_that_is_no_longer_made_is_removed(analysis, tmp_path):
    stale = tmp_path / "analysis" / "tables" / "doubtful.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    write_analysis(tmp_path, analysis)
    assert not stale.exists()


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 0.3, HOLDS), (-0.3, -0.1, FAILS), (-0.1, 0.2, UNTOLD), (None, None, UNTOLD)]
)
def test_a_claim_is_decided_by_its_whole_interval(low, high, verdict):
    assert decide(_estimate(0.1, low, high), 0.0, math.inf)[0] == verdict


def test_a_claim_between_two_ends_fails_on_either_side():
    assert decide(_estimate(0.9, 0.85, 0.95), 0.35, 0.8)[0] == FAILS
    assert decide(_estimate(0.5, 0.4, 0.7), 0.35, 0.8)[0] == HOLDS
    verdict, reason = decide(_estimate(0.5, 0.2, 0.9, over="run"), 0.35, 0.8)
    assert verdict == UNTOLD and "0.35 and 0.8" in reason and "these bases only" in reason


@pytest.mark.parametrize(
    ("pattern", "named", "others"),
    [
        (MATHS, ["gsm8k", "maths_asdiv", "math", "minerva_math"], ["aftermath", "mmlu"]),
        (CODE, ["humaneval", "code_human_eval_16", "mbpp"], ["barcode", "mmlu"]),
        (EXAMS, ["mmlu", "jmmlu", "knowledge_mmlu", "arc_easy"], ["commonsense_csqa", "maths_asdiv"]),
        (ENGLISH, ["mmlu", "knowledge_mmlu", "mmlu_holdout"], ["jmmlu", "cmmlu", "mmlu_ja"]),
        (JAPANESE, ["jmmlu", "mmlu_ja", "global_mmlu_ja"], ["mmlu", "cmmlu"]),
        (CHAT, ["mtbench", "alpaca_eval_v2"], ["mbpp"]),
    ],
)
def test_benchmarks_are_known_by_a_word_of_their_name(pattern, named, others):
    def matched(names):
        return [metric.benchmark for metric in benchmarks_like(pattern, [_metric(name) for name in names])]

    assert matched(named) == named and matched(others) == []


def _metric(name: str) -> Metric:
    return Metric(benchmark=name, metric="acc")


def test_equal_scores_are_no_evidence_against_a_claim():
    gains = [SimpleNamespace(gain=0.0, base_model=base, run=f"{base}{n}") for base in "abcde" for n in range(4)]
    found = _share(list(zip(gains, gains, strict=True)), "none")
    assert found.value == 0.5
