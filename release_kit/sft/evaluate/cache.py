"""What a model answered, kept under the digest of everything that decides it, so that no answer is ever stale.

Under ``.release_kit/eval-cache/<key>/`` lie ``answers.json`` (complete) or journals (one line for each finished row, so
that a killed evaluation computes at most one row again). The key holds weights, tokenizer, every request, the code of
the scorer and the libraries, device and threads; metrics are never kept, they are computed from the answers.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.files import STATE_FOLDER, write_atomic

CACHE_FOLDER = "eval-cache"
ANSWERS_FILE = "answers.json"
_JOURNAL = "journal-"


class Answers:
    """Answers of one model to one list of requests: unit of work (row or group) → {request: answer}."""

    def __init__(self, study_folder: Path, key_parts: Mapping[str, Any]):
        self.key = canonical.digest(key_parts)
        self.folder = study_folder / STATE_FOLDER / CACHE_FOLDER / self.key
        self._parts = dict(key_parts)
        self._journal: int | None = None

    def read(self) -> Any | None:
        """Return the complete answers, None when there are none (or the file does not read as what it should be)."""
        try:
            stored = json.loads((self.folder / ANSWERS_FILE).read_bytes())
            body = stored["answers"]
            return body if stored["sha256"] == _digest(body) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def resume(self) -> dict[int, dict[int, Any]]:
        """Return the units that killed evaluations finished: ``{unit: {request: answer}}``."""
        units: dict[int, dict[int, Any]] = {}
        for unit, answers in self._journalled():
            units[unit] = {int(request): answer for request, answer in answers.items()}
        return units

    def add(self, unit: int, answers: Mapping[int, Any]) -> None:
        """Note one finished unit; it survives the death of this process."""
        if self._journal is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{_JOURNAL}{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            self._journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        body = {"unit": unit, "answers": {str(request): answer for request, answer in answers.items()}}
        line = json.dumps({**body, "sha256": _digest(body)}) + "\n"
        os.write(self._journal, line.encode())

    def finish(self, answers: Any) -> None:
        """Keep the complete answers and drop the journals."""
        body = json.loads(json.dumps(answers))
        document = {"key": self._parts, "answers": body, "sha256": _digest(body)}
        write_atomic(self.folder / ANSWERS_FILE, json.dumps(document, sort_keys=True).encode(), durable=False)
        self.close()
        for path in self.folder.glob(f"{_JOURNAL}*.jsonl"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the journal; what it holds is kept for the next try."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def _journalled(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for path in sorted(self.folder.glob(f"{_JOURNAL}*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                    body = {"unit": entry["unit"], "answers": entry["answers"]}
                    if entry["sha256"] == _digest(body):
                        yield int(entry["unit"]), entry["answers"]
                except (ValueError, KeyError, TypeError):
                    continue  # The line that the kill tore.


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
