"""The Hub's rate limits, for rehearsals: so many requests in a fixed window, told in headers, refused with 429.

Pure counting. The real limits are per account tier; see docs/local-hub.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from release_kit.hub.server.http import Request
from release_kit.hub.server.replies import Headers, HttpError, rate_limit_headers


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """How many requests each user may send.

    Args:
        api: requests to ``/api/`` and LFS in one window.
        resolvers: requests for files in one window.
        window_s: seconds.
    """

    api: int
    resolvers: int
    window_s: int = 300


class RateLimiter:
    """Counts requests of each user."""

    def __init__(self, limits: RateLimits, clock: Callable[[], float]):
        self._limits, self._clock = limits, clock
        self._window = -1
        self._used: dict[tuple[str, str], int] = {}

    def take(self, request: Request) -> Headers:
        """Count a request and return the headers that tell what is left.

        Raises:
            HttpError: 429 when nothing is left, with the same headers.
        """
        resource = _resource(request)
        if resource is None:
            return []
        now = self._clock()
        window = int(now // self._limits.window_s)
        if window != self._window:
            self._window, self._used = window, {}
        limit = self._limits.resolvers if resource == "resolvers" else self._limits.api
        key = (request.header(b"authorization") or str(request.scope.get("client")[0]), resource)
        used = self._used[key] = self._used.get(key, 0) + 1
        reset_s = math.ceil((window + 1) * self._limits.window_s - now)
        headers = rate_limit_headers(resource, max(0, limit - used), reset_s, limit, self._limits.window_s)
        if used > limit:
            raise HttpError(429, "Too Many Requests: the rate limit of this local Hub is reached", headers=headers)
        return headers


def _resource(request: Request) -> str | None:
    first = request.segments[0]
    if "resolve" in request.segments:
        return "resolvers"
    return "api" if first == "api" or "info" in request.segments else None
