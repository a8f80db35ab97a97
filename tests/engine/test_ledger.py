"""Leases in files: one owner at a time, whatever dies, whatever wakes up late."""

import json
import multiprocessing
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from release_kit.engine.ledger import Lease, LeaseLostError, Ledger, ledger_folder
from release_kit.engine.owner import Owner, process_start, this_owner

UNIT = "run-0123456789ab"


class Clock:
    """A monotonic clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _foreign() -> Owner:
    """An owner on a machine that cannot be looked into."""
    return replace(this_owner(), machine="another-boot:1", host="node7", pid=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _ledger(folder: Path, clock: Clock, owner: Owner | None = None) -> Ledger:
    return Ledger(folder, expiry_s=90.0, clock=clock, owner=owner or this_owner())


def test_unit_has_one_owner_until_it_is_released(tmp_path: Path, clock: Clock):
    one, other = _ledger(tmp_path, clock), _ledger(tmp_path, clock)
    held = one.claim(UNIT)
    assert held is not None and other.claim(UNIT) is None
    held.release()
    again = other.claim(UNIT)
    assert again is not None and again.lease.generation == 2 and again.deaths == 0
    assert one.claim(UNIT) is None


def test_of_many_contenders_exactly_one_wins(tmp_path: Path):
    for generation in range(1, 6):
        barrier, won = threading.Barrier(8), []

        def contend(barrier=barrier, won=won) -> None:
            ledger = Ledger(tmp_path)
            barrier.wait()
            if held := ledger.claim(UNIT):
                won.append(held)

        threads = [threading.Thread(target=contend) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [held.lease.generation for held in won] == [generation]
        won[0].release()
    assert {path.name for path in tmp_path.rglob("*.json")} == {f"{UNIT}.{g}.json" for g in range(1, 6)}
    assert not [path for path in tmp_path.rglob(".rk-tmp-*")]


def test_lease_of_an_unseen_process_expires_only_when_it_stays_unchanged(tmp_path: Path, clock: Clock):
    theirs = _ledger(tmp_path, clock, _foreign()).claim(UNIT)
    mine = _ledger(tmp_path, clock)
    assert mine.claim(UNIT) is None
    for _ in range(5):
        clock.now += 80
        theirs.renew()
        assert mine.claim(UNIT) is None
    clock.now += 89
    assert mine.claim(UNIT) is None
    clock.now += 1
    held = mine.claim(UNIT)
    assert held is not None and held.deaths == 1


def test_clocks_of_other_machines_are_never_asked(tmp_path: Path, clock: Clock):
    _ledger(tmp_path, clock, _foreign()).claim(UNIT)
    path = next(tmp_path.rglob("*.json"))
    os.utime(path, (0, 0))
    assert "time" not in path.read_text() and _ledger(tmp_path, clock).claim(UNIT) is None


def _die_holding(folder: Path) -> None:
    Ledger(folder).claim(UNIT)
    os.kill(os.getpid(), signal.SIGKILL)


def test_unit_of_a_killed_process_is_free_at_once_on_its_own_machine(tmp_path: Path, clock: Clock):
    process = multiprocessing.get_context("fork").Process(target=_die_holding, args=(tmp_path,))
    process.start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(process.pid) is None, "what is left of a killed process must not count as alive"
    held = _ledger(tmp_path, clock).claim(UNIT)
    process.join()
    assert held is not None and held.deaths == 1


def test_process_id_that_is_used_again_is_another_process(tmp_path: Path, clock: Clock):
    _ledger(tmp_path, clock, replace(this_owner(), started="1")).claim(UNIT)
    assert _ledger(tmp_path, clock).claim(UNIT) is not None


def test_owner_that_wakes_up_late_cannot_harm_its_successor(tmp_path: Path, clock: Clock):
    late = _ledger(tmp_path, clock, _foreign()).claim(UNIT)
    mine = _ledger(tmp_path, clock)
    mine.claim(UNIT)
    clock.now += 100
    held = mine.claim(UNIT)
    before = (tmp_path / "leases" / f"{UNIT}.2.json").read_bytes()
    with pytest.raises(LeaseLostError, match="taken over"):
        late.check()
    late.renew()
    late.release()
    held.check()
    assert late.lost and (tmp_path / "leases" / f"{UNIT}.2.json").read_bytes() == before
    assert _ledger(tmp_path, clock).claim(UNIT) is None


def test_lease_that_lost_its_content_is_waited_for_and_then_taken(tmp_path: Path, clock: Clock):
    _ledger(tmp_path, clock, _foreign()).claim(UNIT)
    next(tmp_path.rglob("*.json")).write_bytes(b'{"unit": "ru')
    mine = _ledger(tmp_path, clock)
    assert mine.claim(UNIT) is None
    clock.now += 90
    assert mine.claim(UNIT) is not None


def test_deaths_count_only_when_nobody_got_further(tmp_path: Path, clock: Clock):
    dead = replace(this_owner(), started="1")
    deaths = []
    for step in (0, 10, 20, 20, 15, 20):
        held = _ledger(tmp_path, clock, dead).claim(UNIT)
        deaths.append(held.deaths)
        held.report("train", step, 100)
        held.renew()
    assert deaths == [0, 1, 1, 1, 2, 3]
    held = _ledger(tmp_path, clock).claim(UNIT)
    assert held.deaths == 4
    held.release(clean=True)
    assert _ledger(tmp_path, clock).claim(UNIT).deaths == 0


def test_a_new_command_counts_deaths_anew_and_takes_nothing_from_a_living_worker(tmp_path: Path, clock: Clock):
    dead = replace(this_owner(), started="1")
    for _ in range(4):
        _ledger(tmp_path, clock, dead).claim(UNIT)
    ledger = _ledger(tmp_path, clock)
    ledger.forgive([UNIT, "run-never-begun"])
    held = ledger.claim(UNIT)
    assert held.deaths == 0
    before = ledger.latest()
    _ledger(tmp_path, clock).forgive([UNIT])
    assert ledger.latest() == before and not held.is_lost()


def test_forgotten_unit_leaves_nothing_behind(tmp_path: Path, clock: Clock):
    ledger = _ledger(tmp_path, clock)
    for _ in range(3):
        ledger.claim(UNIT).release()
    other = ledger.claim("run-other")
    ledger.forget(UNIT)
    assert ledger.latest() == {"run-other": 1}
    other.check()


def test_lease_reads_as_it_was_written(tmp_path: Path, clock: Clock):
    ledger = _ledger(tmp_path, clock)
    held = ledger.claim(UNIT)
    held.report("evaluate", 3, 9)
    held.renew()
    lease = ledger.read(UNIT, 1)
    assert lease == held.lease and (lease.stage, lease.step, lease.n_steps, lease.beat) == ("evaluate", 3, 9, 1)
    assert Lease.from_dict(json.loads(json.dumps(lease.to_dict())), "x") == lease


def test_claims_on_a_file_system_without_hard_links_are_exclusive_too(tmp_path: Path, clock: Clock, monkeypatch):
    def no_links(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    one = _ledger(tmp_path, clock).claim(UNIT)
    assert one is not None and _ledger(tmp_path, clock).claim(UNIT) is None
    one.release()
    assert _ledger(tmp_path, clock).claim(UNIT) is not None


def test_ledger_of_a_relative_study_stays_where_it_is_when_the_process_moves(tmp_path, monkeypatch):
    (tmp_path / "study").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = ledger_folder(Path("study"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert folder == tmp_path / "study" / ".release_kit" / "ledger"
