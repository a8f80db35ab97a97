"""``publish`` of a dataset killed at a request, before or after the Hub carried it out, then run again."""

from pathlib import Path

import pytest
from publish_hub import Children, KillAfter, KillBefore, Victim, end_state

from release_kit.hub.server import LocalHub


@pytest.fixture(scope="module")
def children():
    """Start the helper that forks clients once."""
    with Children() as helper:
        yield helper


def _arguments(study: Path, hub: LocalHub) -> list[str]:
    return ["publish", str(study), "--to", "lab", "--endpoint", hub.endpoint, "--despite-errors", "--json"]


def _killed(root: Path, study: Path, children: Children, at: int, *, before: bool):
    """Return the end state after a kill at request ``at`` and a second call; None when there was no such request."""
    for path in (study / ".release_kit").rglob("publish-*"):
        path.unlink()
    victim, log = Victim(at, before=before), KillAfter()
    with LocalHub(root, durability="fast", log=log) as hub:
        if before:
            hub.server.app.plan = KillBefore(victim)
        else:
            log.victim = victim
        code = children.publish(_arguments(study, hub), victim)
        log.victim = None
        hub.clear_faults()
        if code != -9:
            assert code == 0
            return None
        assert children.publish(_arguments(study, hub)) == 0
        return end_state(hub, "lab")


def _kill_at(points, study: Path, tmp_path: Path, children: Children, *, before: bool) -> int:
    with LocalHub(tmp_path / "undisturbed") as hub:
        assert children.publish(_arguments(study, hub)) == 0
        expected = end_state(hub, "lab")
    for n_killed, at in enumerate(points):
        state = _killed(tmp_path / f"hub-{at}", study, children, at, before=before)
        if state is None:
            return n_killed
        assert state == expected, f"killed {'before' if before else 'after'} request {at}"
    return len(points)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_publish_killed_at_a_few_requests_ends_in_the_same_state(
    study: Path, tmp_path: Path, children: Children, before: bool
):
    assert _kill_at((6, 12, 16), study, tmp_path, children, before=before) == 3


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_publish_killed_at_every_request_ends_in_the_same_state(
    study: Path, tmp_path: Path, children: Children, before: bool
):
    assert _kill_at(range(1, 1000), study, tmp_path, children, before=before) >= 15
