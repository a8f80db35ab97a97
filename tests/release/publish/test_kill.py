"""``publish`` killed at a request, before or after the Hub carried it out, then run again: the same end state."""

import shutil
import signal
from pathlib import Path

import pytest
from publish_hub import Children, KillAfter, KillBefore, Victim, edit_card, end_state
from study_factory import make_study

from release_kit.core.study import LAYOUTS
from release_kit.hub.server import LocalHub
from release_kit.release.build import build_release


@pytest.fixture(scope="module")
def children():
    """Start the helper that forks clients once."""
    with Children() as helper:
        yield helper


def _study(folder: Path):
    study = make_study(folder, datasets=("alpaca",), methods=("lora",), seeds=(0, 1), benchmarks=("arc_tiny",))
    build_release(study)
    return study


def _arguments(study, hub: LocalHub, layout: str) -> list[str]:
    where = ["--to", "lab", "--endpoint", hub.endpoint, "--layout", layout]
    return ["publish", str(study.folder), *where, "--despite-errors", "--json"]


def _forget(study) -> None:
    """Remove the journal: the next Hub knows nothing either."""
    for path in (study.folder / ".release_kit").rglob("*"):
        if path.is_file():
            path.unlink()


def _killed_and_resumed(root: Path, study, children: Children, layout: str, at: int, *, before: bool):
    """Return whether the client was killed at request ``at``, and the end state after running it again."""
    victim, log = Victim(at, before=before), KillAfter()
    with LocalHub(root, durability="fast", log=log) as hub:
        if before:
            hub.server.app.plan = KillBefore(victim)
        else:
            log.victim = victim
        code = children.publish(_arguments(study, hub, layout), victim)
        log.victim = None
        hub.clear_faults()
        if code != -9:
            assert code == 0
            return False, None
        assert children.publish(_arguments(study, hub, layout)) == 0
        return True, end_state(hub, "lab")


def test_publish_interrupted_from_the_keyboard_ends_soon_and_continues(tmp_path: Path, children: Children):
    study = _study(tmp_path / "study")
    log = KillAfter()
    with LocalHub(tmp_path / "hub", durability="fast", log=log) as hub:
        log.victim = Victim(12, before=False, signal_number=signal.SIGINT)
        assert children.publish(_arguments(study, hub, "repos"), log.victim) == 130
        n_requests = len(hub.requests)
        assert 12 <= n_requests < 30
        log.victim = None
        assert children.publish(_arguments(study, hub, "repos")) == 0
        before = end_state(hub, "lab")
        assert children.publish(_arguments(study, hub, "repos")) == 0
        assert end_state(hub, "lab") == before


def _kill_everywhere(tmp_path: Path, children: Children, layout: str, points, *, before: bool) -> int:
    study = _study(tmp_path / "study")
    with LocalHub(tmp_path / "undisturbed") as hub:
        assert children.publish(_arguments(study, hub, layout)) == 0
        expected = end_state(hub, "lab")
    n_killed = 0
    for at in points:
        root = tmp_path / f"hub-{at}"
        _forget(study)
        killed, state = _killed_and_resumed(root, study, children, layout, at, before=before)
        if not killed:
            break
        n_killed += 1
        assert state == expected, f"killed {'before' if before else 'after'} request {at}"
    return n_killed


@pytest.mark.parametrize("layout", LAYOUTS)
def test_publish_killed_at_a_few_requests_ends_in_the_same_state(tmp_path: Path, children: Children, layout: str):
    points = {"repos": (8, 23), "branches": (12, 30), "folders": (9, 20)}[layout]
    n = _kill_everywhere(tmp_path / "before", children, layout, points, before=True)
    n += _kill_everywhere(tmp_path / "after", children, layout, points, before=False)
    assert n == 4


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_publish_killed_at_every_request_ends_in_the_same_state(
    tmp_path: Path, children: Children, layout: str, before: bool, capsys: pytest.CaptureFixture
):
    n = _kill_everywhere(tmp_path, children, layout, range(1, 1000), before=before)
    moment = "before" if before else "after"
    with capsys.disabled():
        print(f"\npublish killed at {n} requests ({layout}, {moment} the Hub carried them out): same end state")
    assert n >= 20


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_correction_of_a_card_killed_at_every_request_ends_in_the_same_state(
    tmp_path: Path, children: Children, layout: str, capsys: pytest.CaptureFixture
):
    study = _study(tmp_path / "study")
    with LocalHub(tmp_path / "published") as hub:
        assert children.publish(_arguments(study, hub, layout)) == 0
    edit_card(study.folder, "tiny-llama-alpaca-lora-s0")
    shutil.copytree(tmp_path / "published", tmp_path / "undisturbed")
    with LocalHub(tmp_path / "undisturbed") as hub:
        assert children.publish(_arguments(study, hub, layout)) == 0
        expected = end_state(hub, "lab")
    n_killed = 0
    for before in (True, False):
        for at in range(1, 1000):
            root = tmp_path / f"hub-{before}-{at}"
            shutil.copytree(tmp_path / "published", root)
            killed, state = _killed_and_resumed(root, study, children, layout, at, before=before)
            if not killed:
                break
            n_killed += 1
            assert state == expected, f"killed {'before' if before else 'after'} request {at}"
    with capsys.disabled():
        print(f"\ncorrection of a card killed at {n_killed} requests ({layout}): same end state")
    assert n_killed >= 20
