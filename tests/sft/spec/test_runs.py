"""Cells become runs: epochs share one, mixtures name their parts, and the published grid is what its paper says."""

import time
from pathlib import Path

import pytest

from release_kit.core.errors import StudyError
from release_kit.core.grid import iter_levels
from release_kit.core.study import Study, parse_study, read_study
from release_kit.sft.spec.plan import plan_cost
from release_kit.sft.spec.runs import components, plan_runs, untouched_cells

MASSIVE = Path(__file__).resolve().parents[3] / "studies" / "massive-sft.yaml"

TEXT = """
schema_version: 1
name: tiny
version: "1"
factors:
  base_model: {{a: {{n_parameters: 1000}}, b: {{}}}}
  dataset:
    x: {{tokens_per_example: 10}}
    y: {{tokens_per_example: 30}}
    both: {{mix: [x, y]}}
    none: {{}}
  method: [full, none]
  data_size: [0, 40]
  epoch: {epochs}
seeds: [0, 1]
include:
  - {{dataset: [x, y, both], method: full, data_size: 40, epoch: {trained}}}
  - {{dataset: none, method: none, data_size: 0, epoch: 0, seed: 0}}
settings:
  training: {{batch_size: 4, max_length: 64, learning_rate: 0.001{more}}}
"""


def study(*, epochs: str = "[0, 1, 3]", trained: str = "[1, 3]", more: str = "", text: str = TEXT) -> Study:
    return parse_study(text.format(epochs=epochs, trained=trained, more=more), folder=Path("/nowhere"))


def test_every_cell_belongs_to_exactly_one_run():
    declared = study()
    runs, untouched = plan_runs(declared), untouched_cells(declared)
    found = [cell.cell_id for run in runs for cell in run.cells] + [cell.cell_id for cell in untouched]
    assert len(runs) == 2 * 3 * 2
    assert len(untouched) == 2
    assert len(found) == len(set(found)) == len(list(iter_levels(declared)))


def test_epochs_of_one_run_are_its_cells():
    run = plan_runs(study())[0]
    assert [cell.label for cell in run.cells] == ["epoch-1", "epoch-3"]
    assert run.settings.epochs == 3, "a run is as long as the last epoch that is kept"
    assert "epoch" not in run.levels


def test_level_that_should_be_a_number_is_refused_by_name():
    with pytest.raises(StudyError, match="epoch 'last' cannot be kept"):
        plan_runs(study(epochs="[0, 1, last]", trained="[1, last]"))
    with pytest.raises(StudyError, match="data_size '1k' is not a whole number"):
        plan_runs(study(text=TEXT.replace("[0, 40]", "[0, 1k]").replace("data_size: 40", "data_size: 1k")))


def test_longer_training_than_is_kept_is_possible_and_shorter_is_refused():
    assert plan_runs(study(more=", epochs: 5"))[0].settings.epochs == 5
    with pytest.raises(StudyError, match="keeps epoch 3, but"):
        plan_runs(study(more=", epochs: 2"))


def test_epoch_zero_is_not_a_trained_cell():
    with pytest.raises(StudyError, match="epoch 0 is for the method none"):
        plan_runs(study(trained="[0, 1]"))


@pytest.mark.parametrize(
    ("mix", "says"),
    [("[x, z]", "no dataset 'z'"), ("[]", "list of different datasets"), ("[x, x]", "list of different datasets"),
     ("[x, both]", "'both' is a mixture itself")],
)  # fmt: skip
def test_wrong_mixtures_are_refused(mix: str, says: str):
    declared = study(text=TEXT.replace("none: {{}}", f"none: {{{{}}}}\n    bad: {{{{mix: {mix}}}}}"))
    with pytest.raises(StudyError, match=says):
        components(declared, "bad")


def test_plan_counts_tokens_of_mixtures_by_their_parts():
    plan = plan_cost(study())
    per_seed_and_base = 3 * (40 * 10 + 40 * 30 + 20 * 10 + 20 * 30)
    assert (plan.n_tokens, plan.n_tokens_by) == (4 * per_seed_and_base, "declared")
    assert plan.storage_bytes == 2 * 1000 * 12
    assert plan.n_cells_sized == 12, "the size of the base b is not known"
    assert plan.seconds is None
    assert len(plan.unknown) == 2


def test_plan_counts_data_that_has_no_record(tmp_path: Path):
    (tmp_path / "data").mkdir()
    for name in ("x", "y"):
        (tmp_path / "data" / f"{name}.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 50)
    text = TEXT.replace("{{tokens_per_example: 10}}", "{{}}").replace("{{tokens_per_example: 30}}", "{{}}")
    declared = parse_study(text.format(epochs="[0, 1]", trained="[1]", more=""), folder=tmp_path)
    plan = plan_cost(declared)
    assert (plan.n_tokens_by, plan.n_tokens) == ("bytes", 4 * 3 * 40 * 35 // 4)


def test_massive_sft_plan_has_the_counts_of_the_paper_in_under_two_seconds():
    start = time.process_time()
    plan = plan_cost(read_study(MASSIVE))
    assert time.process_time() - start < 2
    assert [block.n_cells for block in plan.blocks] == [12, 240, 240, 570, 20]
    assert [block.n_runs for block in plan.blocks] == [0, 240, 24, 57, 20]
    assert (plan.n_runs, plan.n_cells, plan.n_untouched) == (341, 1070, 12)


def test_leave_one_out_mixes_the_nine_others():
    declared = read_study(MASSIVE)
    every = components(declared, "all")
    for name in every:
        assert set(components(declared, f"without-{name}")) == set(every) - {name}
