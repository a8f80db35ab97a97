"""Gains over the base, and the base rows that no gain should rest on."""

from dataclasses import replace

import pytest
from sft.analysis.tables_on_disk import planted_study

from release_kit.core.errors import StudyError
from release_kit.core.results import Result, read_results, write_results
from release_kit.core.study import parse_study, read_study
from release_kit.sft.analysis.cells import cell_facts, primary_metrics, read_rows
from release_kit.sft.analysis.compare import pair_gains
from release_kit.sft.analysis.doubtful import find_doubtful
from release_kit.sft.analysis.effects import make_effects
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.gains import BaseScore, GainFrame, base_scores, make_gains

STUDY = """
schema_version: 1
name: gains
version: 1.0.0
factors:
  base_model: [a, b]
  dataset: [none, d]
  method: [none, full]
  epoch: [0, 1, 2]
include:
  - {dataset: none, method: none, epoch: 0}
  - {dataset: d, method: full, epoch: [1, 2]}
benchmarks:
  t0: {acc: {range: [0, 1], chance: 0.25}}
  t1: {acc: {range: [0, 1]}}
  text: {perplexity: {higher_is_better: false}}
"""


def _study(folder):
    return parse_study(STUDY, folder=folder)


def _cells(study):
    return {(f.base_model, f.dataset, f.epoch): f.cell_id for f in cell_facts(study).values()}


def _gains(study, rows, doubts=()):
    facts = cell_facts(study)
    return make_gains(study, rows, facts, base_scores(rows, facts), doubts)


def test_a_positive_gain_is_an_improvement_also_where_less_is_better(tmp_path):
    study, cells = _study(tmp_path), _cells(_study(tmp_path))
    rows = [
        Result(cell_id=cells["a", "none", 0], benchmark="text", metric="perplexity", value=20.0, stderr=0.3),
        Result(cell_id=cells["a", "d", 1], benchmark="text", metric="perplexity", value=15.0, stderr=0.4),
        Result(cell_id=cells["a", "none", 0], benchmark="t1", metric="acc", value=0.5),
        Result(cell_id=cells["a", "d", 1], benchmark="t1", metric="acc", value=0.4),
    ]
    gains, notes = _gains(study, rows)
    by_benchmark = {gain.metric.benchmark: gain for gain in gains}
    assert by_benchmark["text"].gain == 5.0 and by_benchmark["t1"].gain == pytest.approx(-0.1)
    assert by_benchmark["text"].stderr == 0.5 and by_benchmark["t1"].stderr is None
    assert not notes


def test_shots_are_compared_with_the_same_shots_and_a_missing_base_score_is_said(tmp_path):
    study, cells = _study(tmp_path), _cells(_study(tmp_path))
    rows = [
        Result(cell_id=cells["a", "none", 0], benchmark="t1", metric="acc", value=0.5, n_shot=0),
        Result(cell_id=cells["a", "d", 1], benchmark="t1", metric="acc", value=0.6, n_shot=0),
        Result(cell_id=cells["a", "d", 1], benchmark="t1", metric="acc", value=0.7, n_shot=5),
        Result(cell_id=cells["b", "d", 1], benchmark="t1", metric="acc", value=0.7, n_shot=0),
    ]
    gains, notes = _gains(study, rows)
    assert [(gain.base_model, gain.metric.n_shot, gain.gain) for gain in gains] == [("a", 0, pytest.approx(0.1))]
    assert len(notes) == 2 and "a: the untouched base has no score" in notes[0] and "t1 5-shot acc" in notes[0]


def test_epochs_share_a_run_and_the_last_one_is_marked(tmp_path):
    study, cells = _study(tmp_path), _cells(_study(tmp_path))
    rows = [
        Result(cell_id=cells["a", "none", 0], benchmark="t1", metric="acc", value=0.5),
        *(Result(cell_id=cells["a", "d", e], benchmark="t1", metric="acc", value=0.6) for e in (1, 2)),
    ]
    gains, _ = _gains(study, rows)
    assert len({gain.run for gain in gains}) == 1
    assert {gain.epoch: gain.last for gain in gains} == {1: False, 2: True}


def test_results_come_from_the_table_with_its_digest(tmp_path):
    study = planted_study(tmp_path, layers=False, properties=False)
    rows, sources, notes = read_rows(study)
    assert sources[0].path == "tables/results.parquet" and sources[0].n_rows == len(rows) and not notes
    assert len(sources[0].sha256) == 64


def test_results_without_a_value_are_left_out_and_counted(tmp_path):
    study = planted_study(tmp_path, layers=False, properties=False)
    path = tmp_path / "tables" / "results.parquet"
    rows = read_results(path)
    write_results(path, [replace(rows[0], value=None), *rows[1:]])
    kept, _, notes = read_rows(study)
    assert len(kept) == len(rows) - 1 and "1 results have no value" in notes[0]


def test_a_study_without_results_or_bases_is_refused_with_the_next_step(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    with pytest.raises(StudyError, match="no result to analyse"):
        read_rows(read_study(tmp_path))
    text = STUDY.replace("method: [none, full]", "method: [full]").replace("method: none, ", "")
    with pytest.raises(StudyError, match="which cells are the bases"):
        cell_facts(parse_study(text, folder=tmp_path))


def test_one_metric_speaks_for_a_benchmark():
    def metric(name, shots=0, benchmark="t"):
        return Metric(benchmark=benchmark, metric=name, n_shot=shots)

    chosen = primary_metrics(
        [metric("acc_norm"), metric("acc"), metric("acc", 5), metric("extraction_failed"), metric("f1", benchmark="u")]
    )
    assert chosen == (metric("acc"), metric("f1", benchmark="u"))


def test_frames_select_and_group(tmp_path):
    study = planted_study(tmp_path, layers=False, properties=False)
    rows, _, _ = read_rows(study)
    facts = cell_facts(study)
    gains, _ = make_gains(study, rows, facts, base_scores(rows, facts), ())
    frame = GainFrame(gains)
    assert len(frame) == 4 * 5 * 8 * 2 * 2 * 2
    assert len(frame.having(method="lora", epoch=2)) == len(frame) // 4
    assert sum(len(part) for part in frame.by("base_model", "metric").values()) == len(frame)
    assert frame.numbers("gain").shape == (len(frame),) and len(frame.metrics()) == 4


def _bases(values: dict[str, list[float]], n: int | None = None):
    """Base scores on benchmarks t0, t1 …, one list of values a base."""
    return {
        base: {
            Metric(benchmark=f"t{i}", metric="acc", n_shot=0): BaseScore(cell_id=base, value=value, stderr=None, n=n)
            for i, value in enumerate(scores)
        }
        for base, scores in values.items()
    }


def test_two_bases_with_the_same_scores_are_named_both(tmp_path):
    bases = _bases(
        {"a": [0.3123, 0.5214, 0.4421, 0.6135], "b": [0.3123, 0.5214, 0.4421, 0.6135], "c": [0.3, 0.4, 0.5, 0.7]}
    )
    doubts = find_doubtful(_study(tmp_path), bases)
    assert [(doubt.base_model, doubt.kind, doubt.other) for doubt in doubts] == [
        ("a", "identical", "b"),
        ("b", "identical", "a"),
    ]
    assert len(doubts[0].metrics) == 4 and "all 4 scores are those of b" in doubts[0].what


def test_many_shared_scores_are_named_and_only_they(tmp_path):
    same = [0.31234, 0.52147, 0.44218, 0.61352, 0.27241]
    bases = _bases({"a": [*same, 0.11113, 0.21117], "b": [*same, 0.35551, 0.47772]})
    doubts = find_doubtful(_study(tmp_path), bases)
    assert {doubt.kind for doubt in doubts} == {"shared"}
    assert {metric.benchmark for metric in doubts[0].metrics} == {"t0", "t1", "t2", "t3", "t4"}


def test_bases_that_guess_alike_on_small_benchmarks_are_not_named(tmp_path):
    bases = _bases({"a": [0.25, 0.5, 0.0], "b": [0.25, 0.5, 0.0], "c": [0.25, 0.48, 0.0]}, n=200)
    assert find_doubtful(_study(tmp_path), bases) == ()


def test_scores_at_chance_are_no_evidence_of_a_copy(tmp_path):
    text = STUDY.replace(
        "t1: {acc: {range: [0, 1]}}", "\n  ".join(f"t{i}: {{acc: {{chance: 0.25}}}}" for i in range(1, 5))
    )
    study = parse_study(text, folder=tmp_path)
    guessing = _bases({"a": [0.251, 0.26, 0.243, 0.248, 0.252], "b": [0.251, 0.26, 0.243, 0.248, 0.252]}, n=3000)
    knowing = _bases({"a": [0.351, 0.46, 0.543, 0.448, 0.352], "b": [0.351, 0.46, 0.543, 0.448, 0.352]}, n=3000)
    assert find_doubtful(study, guessing) == ()
    assert {doubt.kind for doubt in find_doubtful(study, knowing)} == {"identical"}


@pytest.mark.parametrize(
    ("value", "n", "named"),
    [(0.24, 10_000, False), (0.20, 50, False), (0.15, 1000, True), (0.13, None, False), (0.1, None, True)],
)
def test_far_below_chance_is_named_and_bad_luck_is_not(tmp_path, value, n, named):
    doubts = find_doubtful(_study(tmp_path), _bases({"a": [value, 0.01]}, n=n))
    assert bool(doubts) == named
    if named:
        assert doubts[0].kind == "below-chance" and [metric.benchmark for metric in doubts[0].metrics] == ["t0"]


def test_doubtful_base_scores_mark_their_gains(tmp_path):
    study, cells = _study(tmp_path), _cells(_study(tmp_path))
    rows = [
        Result(cell_id=cells["a", kind, epoch], benchmark=f"t{i}", metric="acc", value=value, n=1000)
        for kind, epoch, values in (("none", 0, (0.02, 0.5)), ("d", 1, (0.4, 0.6)))
        for i, value in enumerate(values)
    ]
    facts = cell_facts(study)
    bases = base_scores(rows, facts)
    gains, _ = make_gains(study, rows, facts, bases, find_doubtful(study, bases))
    assert {gain.metric.benchmark: gain.doubtful for gain in gains} == {"t0": True, "t1": False}
    assert [gain.metric.benchmark for gain in GainFrame(gains).sound().gains] == ["t1"]


def test_cells_that_differ_in_a_factor_without_a_role_are_never_paired_or_averaged(tmp_path):
    text = STUDY.replace("epoch: [0, 1, 2]", "epoch: [0, 1, 2]\n  rank: [0, 4, 8]").replace(
        "[none, full]", "[none, full, lora]"
    )
    text = text.replace("method: none, epoch: 0}", "method: none, epoch: 0, rank: 0}")
    text = text.replace("method: full, epoch: [1, 2]}", "method: [full, lora], epoch: 2, rank: [4, 8]}")
    study = parse_study(text, folder=tmp_path)
    facts = cell_facts(study)
    rows = [
        Result(cell_id=cell.cell_id, benchmark="t1", metric="acc", value=0.5 + 0.01 * i, n=100)
        for i, cell in enumerate(facts.values())
    ]
    gains, _ = make_gains(study, rows, facts, base_scores(rows, facts), ())
    frame = GainFrame(gains)
    assert {gain.others for gain in gains} == {"rank=4", "rank=8"}
    pairs = pair_gains(frame, "method", "lora", "full")
    assert len(pairs) == 4 and all(first.others == second.others for first, second in pairs)
    effects = make_effects(frame)
    assert len(effects) == len(gains) and {effect.others for effect in effects} == {"rank=4", "rank=8"}
