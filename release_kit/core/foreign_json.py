"""JSON that other tools wrote: read as data, with the ``NaN`` that Python's own writer leaves in it.

``canonical.parse_json`` is for our own files and refuses what is not JSON; here NaN and infinities are null.
"""

import json
from typing import Any

from release_kit.core.errors import RecordError


def parse_foreign_json(data: bytes, where: str) -> Any:
    """Parse JSON of a trainer or a harness; NaN and infinities become None.

    Raises:
        RecordError: not JSON, or half-written.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=lambda name: None)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        step = "a half-written file? run what made it again, or remove it"
        raise RecordError(f"is not valid JSON ({error})", where=where, next_step=step) from error
