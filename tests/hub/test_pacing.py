"""Budgets and waits, with a clock that the test moves."""

import pytest

from release_kit.hub.pacing import TIERS, WINDOW_S, Pacer, Patience, asked_wait


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now_s = 1000.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_s += seconds


def _pacer(tier: str, clock: Clock, said: list | None = None) -> Pacer:
    tell = (lambda seconds, reason: said.append((seconds, reason))) if said is not None else None
    return Pacer(tier, clock=clock, sleep=clock.sleep, on_wait=tell)


@pytest.mark.parametrize("tier", sorted(TIERS))
@pytest.mark.parametrize(("kind", "column"), [("api", 0), ("resolvers", 1)])
def test_no_window_holds_more_requests_than_the_tier_allows(tier, kind, column):
    clock, times = Clock(), []
    pacer = _pacer(tier, clock)
    budget = TIERS[tier][column]
    for _ in range(2 * budget + 10):
        pacer.take_turn(kind)
        times.append(clock.now_s)
    for first, later in zip(times, times[budget:], strict=False):
        assert later - first >= WINDOW_S


def test_budgets_of_api_and_downloads_are_apart_and_storage_is_free():
    clock = Clock()
    pacer = _pacer("anonymous", clock)
    for _ in range(TIERS["anonymous"][0]):
        pacer.take_turn("api")
    for _ in range(2000):
        pacer.take_turn("resolvers")
        pacer.take_turn("storage")
    assert clock.sleeps == []


def test_waiting_is_said_with_its_reason():
    clock, said = Clock(), []
    pacer = _pacer("anonymous", clock, said)
    for _ in range(TIERS["anonymous"][0] + 1):
        pacer.take_turn("api")
    assert said == [(WINDOW_S, "500 requests in five minutes are what this account tier allows")]


def test_a_hold_makes_everybody_wait_once():
    clock = Clock()
    pacer = _pacer("none", clock)
    pacer.hold("api", 7)
    pacer.hold("api", 3)
    pacer.take_turn("resolvers")
    assert clock.sleeps == []
    pacer.take_turn("api")
    pacer.take_turn("api")
    assert clock.sleeps == [7]


def test_nothing_left_in_the_window_is_heeded_before_the_refusal_comes():
    clock = Clock()
    pacer = _pacer("none", clock)
    pacer.heed("api", {"ratelimit": '"api";r=3;t=40'})
    pacer.take_turn("api")
    assert clock.sleeps == []
    pacer.heed("api", {"ratelimit": '"api";r=0;t=40'})
    pacer.take_turn("api")
    assert clock.sleeps == [40]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"ratelimit": '"api";r=0;t=55'}, 56),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "3"}, 56),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "9" * 40}, None),
        ({"ratelimit": "nonsense"}, None),
        ({}, None),
    ],
)
def test_wait_that_a_refusal_asks_for(headers, seconds):
    assert asked_wait(headers) == seconds


def test_pauses_grow_and_are_bounded():
    patience = Patience(base_s=1, pause_s=10)
    assert patience.pause(1) <= 0.05
    for failures in range(2, 40):
        assert 0.75 * min(10, 2 ** (failures - 2)) <= patience.pause(failures) <= 12.5
