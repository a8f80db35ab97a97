"""Units that need others wait for them, whatever dies; what needs a failed unit is left alone and named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from engine import counting
from engine.counting import Sum

from release_kit.core.errors import ReleaseKitError
from release_kit.engine.local import LocalWorkers
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import Order, Puller, Rules
from release_kit.engine.state import read_state

QUICK = Rules(poll_s=0.02)


def options(folder: Path, **given: int) -> WorkerOptions:
    return WorkerOptions(
        study_folder=folder, plan=counting.plan, make_perform=counting.make_perform, given=given, rules=QUICK
    )


def run(folder: Path, workers: int = 2, **given: int) -> list[Mapping[str, Any]]:
    events: list[Mapping[str, Any]] = []
    LocalWorkers(options(folder, **given), workers, events.append, "fork").run()
    return events


def sums(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "sums").iterdir())}


def mark(folder: Path, kind: str, *names: str) -> None:
    (folder / kind).mkdir(exist_ok=True)
    for name in names:
        (folder / kind / name).touch()


def test_a_unit_is_begun_when_what_it_needs_is_done(tmp_path: Path):
    done = [event["unit"] for event in run(tmp_path) if event["event"] == "done"]
    assert len(done) == 20
    for chain in range(4):
        assert [name for name in done if name.startswith(f"c{chain}-")] == [f"c{chain}-{k}" for k in range(5)]


def test_workers_that_die_in_the_middle_of_chains_leave_the_same_bytes(tmp_path: Path):
    for name in ("quiet", "killed"):
        (tmp_path / name).mkdir()
    mark(tmp_path / "killed", "deadly", "c0-0", "c0-3", "c1-2", "c3-4")
    events = run(tmp_path / "killed")
    run(tmp_path / "quiet", workers=1)
    assert sum(event["event"] == "died" for event in events) == 4
    assert sums(tmp_path / "killed") == sums(tmp_path / "quiet")


def test_what_needs_a_failed_unit_is_left_alone_and_named(tmp_path: Path):
    mark(tmp_path, "broken", "c1-2")
    failed = [event["unit"] for event in run(tmp_path) if event["event"] == "failed"]
    assert failed == ["c1-2"]
    assert set(counting_names()) - set(sums(tmp_path)) == {"c1-2", "c1-3", "c1-4"}
    state = read_state(tmp_path, counting.chains(), lambda unit: None)
    assert [unit.name for unit in state.blocked] == ["c1-4", "c1-3"]
    assert (len(state.done), len(state.failed), len(state.waiting)) == (17, 1, 0)


def counting_names() -> list[str]:
    return [unit.name for unit in counting.chains()]


def test_a_circle_and_a_need_that_nobody_plans_are_refused(tmp_path: Path):
    with pytest.raises(ReleaseKitError, match="circle: a, b"):
        Order([Sum(name="a", needs=("b",)), Sum(name="b", needs=("a",)), Sum(name="c")], tmp_path)
    with pytest.raises(ReleaseKitError, match="sum a: needs x, which is not planned"):
        Order([Sum(name="a", needs=("x",))], tmp_path)


def test_a_chain_is_one_worker_after_the_other_without_waiting_for_its_own(tmp_path: Path):
    units = counting.chains(1, 50)
    told = options(tmp_path, n_chains=1, length=50)
    puller = Puller(
        study_folder=tmp_path, units=units, perform=counting.make_perform(told), emit=lambda event: None, rules=QUICK
    )
    puller.run()
    assert len(sums(tmp_path)) == 50
