"""How fast and how patiently a Hub is asked: budgets of the account tiers, waits that the Hub asks for, retries.

Owns no request. One ``Pacer`` is shared by all threads of a client, so that a 429 for one makes all of them wait.
"""

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WINDOW_S = 300.0
"""The Hub counts requests in windows of five minutes."""

TIERS: dict[str, tuple[int, int]] = {
    "anonymous": (500, 3_000),
    "free": (1_000, 5_000),
    "pro": (2_500, 12_000),
    "team": (3_000, 20_000),
    "enterprise": (6_000, 50_000),
    "enterprise-plus": (10_000, 100_000),
}
"""Requests per window: (API, file downloads), as the Hub documents them; tier ``none`` has no budget."""

COMMITS_PER_HOUR = 128
"""A cap on commits that the public Hub was seen to apply (undocumented; whether per repo or per user is unknown)."""

_RATE_LIMIT = re.compile(r'"(?P<kind>\w+)"\s*;\s*r\s*=\s*(?P<left>\d{1,9})\s*;\s*t\s*=\s*(?P<reset>\d{1,9})')

OnWait = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on when a Hub fails or asks to wait.

    Args:
        tries: how often one request is sent before its failure is final; waits that the Hub asks for are not failures.
        base_s: pause before the second try; doubled for each further one.
        pause_s: longest pause between tries.
        wait_s: longest wait for a rate limit, for one request altogether (the Hub has limits per hour).
        waits: how often one request may be answered by 429.
        connect_s: seconds for a connection.
        read_s: seconds without a byte.
    """

    tries: int = 6
    base_s: float = 0.5
    pause_s: float = 20.0
    wait_s: float = 7200.0
    waits: int = 50
    connect_s: float = 15.0
    read_s: float = 120.0

    def pause(self, n_failures: int) -> float:
        """Return the pause in seconds after ``n_failures`` failures; the first is short, since it is often a
        connection that the server had closed."""
        if n_failures <= 1:
            return min(0.05, self.base_s)
        return min(self.pause_s, self.base_s * 2 ** (n_failures - 2)) * random.uniform(0.75, 1.25)


class Pacer:
    """Gives each request its turn.

    Args:
        tier: key of ``TIERS``, or ``none``.
        on_wait: told ``(seconds, reason)`` when somebody waits a second or more.
        clock: monotonic seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        tier: str = "none",
        *,
        on_wait: OnWait | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        api, files = TIERS.get(tier, (0, 0))
        self._budgets = {"api": api, "resolvers": files}
        self._sent: dict[str, deque[float]] = {"api": deque(), "resolvers": deque()}
        self._not_before = {"api": 0.0, "resolvers": 0.0}
        self._lock = threading.Lock()
        self._on_wait, self._clock, self._sleep = on_wait, clock, sleep

    def take_turn(self, kind: str) -> float:
        """Wait until a request of ``kind`` (``api``, ``resolvers``; anything else is free) may be sent.

        Returns:
            How long it waited, in seconds.
        """
        waited = 0.0
        while kind in self._budgets:
            with self._lock:
                delay, reason = self._delay(kind)
                if delay <= 0:
                    if self._budgets[kind]:
                        self._sent[kind].append(self._clock())
                    break
            self.pause(delay, reason)
            waited += delay
        return waited

    def _delay(self, kind: str) -> tuple[float, str]:
        now = self._clock()
        if self._not_before[kind] > now:
            return self._not_before[kind] - now, "the Hub asks to wait (rate limit)"
        sent, budget = self._sent[kind], self._budgets[kind]
        while sent and sent[0] <= now - WINDOW_S:
            sent.popleft()
        if budget and len(sent) >= budget:
            return sent[0] + WINDOW_S - now, f"{budget} requests in five minutes are what this account tier allows"
        return 0.0, ""

    def hold(self, kind: str, seconds: float) -> None:
        """Let nobody send a request of ``kind`` for ``seconds``."""
        if kind in self._not_before:
            with self._lock:
                self._not_before[kind] = max(self._not_before[kind], self._clock() + seconds)

    def pause(self, seconds: float, reason: str) -> None:
        """Wait, and say so when it takes a second or more."""
        if seconds >= 1 and self._on_wait is not None:
            self._on_wait(seconds, reason)
        self._sleep(seconds)

    def heed(self, kind: str, headers: Mapping[str, str]) -> None:
        """Read the ``RateLimit`` header of a good reply: with nothing left, wait until the window ends."""
        if "ratelimit" in headers:
            match = _RATE_LIMIT.search(headers["ratelimit"])
            if match and int(match["left"]) == 0:
                self.hold(kind, float(match["reset"]))


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a refusal asks to wait (``RateLimit`` before ``Retry-After``), None when it does not."""
    match = _RATE_LIMIT.search(headers.get("ratelimit", ""))
    if match and int(match["left"]) == 0:
        return float(match["reset"]) + 1
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isdigit() and len(text) < 9 else None
