"""What was asked of the server: a list in memory for tests and benchmarks, a JSON-lines file for people.

Neither holds query strings, headers or bodies, so no token and no signature can end up here.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple


class RequestRecord(NamedTuple):
    """One finished request; sizes are bytes of the bodies. Status 0 means that no answer was sent."""

    method: str
    path: str
    status: int
    n_bytes_in: int
    n_bytes_out: int


class RequestLog:
    """Notes finished requests.

    Args:
        keep: hold the records in ``records``.
        file: append one JSON line for each request.
    """

    def __init__(self, *, keep: bool = True, file: Path | None = None):
        self.records: list[RequestRecord] = []
        self._keep = keep
        self._stream = open(file, "a", encoding="utf-8", buffering=1) if file else None  # noqa: SIM115 - see close()

    def add(self, record: RequestRecord) -> None:
        """Note one request."""
        if self._keep:
            self.records.append(record)
        if self._stream:
            line = {"time_s": round(time.time(), 3), **record._asdict()}
            self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._stream:
            self._stream.close()
