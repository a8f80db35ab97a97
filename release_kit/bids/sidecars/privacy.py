"""What must not leave the lab: keys to scrub, the date shift of each subject, and the secret behind it.

Owns these decisions and the key file; which files of a dataset still tell something is ``leaks.py``. The built-in list
with its reasons is ``bids/sidecars/scrub.yaml``. The map of pseudonyms is the recipe's (``Subject.source``) and enters
no file here. Written up in ``docs/bids-privacy.md``.
"""

import contextlib
import functools
import hmac
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.model import Privacy
from release_kit.core.errors import RecordError, StudyError
from release_kit.core.files import TEMPORARY_PREFIX, write_error
from release_kit.core.records import Fields, check_schema_version
from release_kit.core.resources import resource_root

SHIFT_FLOOR_DAYS = 73_050
"""200 years: whatever is shifted lies before 1925, which is how BIDS marks a date as not the real one."""
SHIFT_SPREAD_DAYS = 18_263
"""50 years: the secret part; the earliest result, about 1730 for a scan of 1980, is a date that every tool can hold."""
_SHIFT_PURPOSE = b"release_kit date shift\x00"
_KEY_BYTES = 32

_FORMS = (
    (re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){5,}"), "a DICOM unique number"),
    (re.compile(r"(?:19|20)\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "a date"),
    (re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6}(?:\.\d+)?)?"), "a date"),
    (re.compile(r"[0-2]\d:[0-5]\d:[0-5]\d(?:\.\d+)?"), "a time of day"),
)
"""What a value looks like that identifies whatever its key is called."""


@functools.cache
def builtin_scrub() -> Mapping[str, str]:
    """Return the keys that are removed from every sidecar → why, in the order of the shipped list."""
    from release_kit.core.strict_yaml import parse_yaml

    source = resource_root("bids").joinpath("sidecars").joinpath("scrub.yaml")
    fields = Fields(parse_yaml(source.read_text(encoding="utf-8"), str(source)), str(source))
    check_schema_version(fields, (1,))
    groups = [(group.take("reason", str), group.take_list("keys", str)) for group in fields.children("groups")]
    fields.done()
    return {key: reason for reason, keys in groups for key in keys}


def scrub_reasons(privacy: Privacy) -> dict[str, str]:
    """Return the keys to remove in lower case → why: the built-in list, more the recipe's, less what it keeps.

    Raises:
        StudyError: the recipe both removes and keeps a key.
    """
    both = sorted({key.lower() for key in privacy.scrub} & {key.lower() for key in privacy.keep})
    if both:
        what = f"{', '.join(both)} stands in both `scrub` and `keep`"
        raise StudyError(what, where="recipe, privacy", next_step="take it out of one of them")
    reasons = {key.lower(): reason for key, reason in builtin_scrub().items()}
    reasons |= {key.lower(): "the recipe removes it" for key in privacy.scrub}
    return {key: reason for key, reason in reasons.items() if key not in {kept.lower() for kept in privacy.keep}}


def scrub(values: Mapping[str, Any], privacy: Privacy) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return ``values`` without what identifies, and the dotted keys that were removed, sorted.

    Removed are the keys of ``scrub_reasons`` at any depth and in any spelling of case, and values whose whole text is
    a DICOM unique number, a date or a time of day, unless the recipe keeps their key.

    ``scrub(scrub(x)[0])[0] == scrub(x)[0]``.
    """
    removed: list[str] = []
    reasons, kept = scrub_reasons(privacy), frozenset(key.lower() for key in privacy.keep)
    cleaned = _scrubbed(dict(values), "", reasons, kept, removed)
    return cleaned, tuple(sorted(removed))


def identifying(value: Any, reasons: Mapping[str, str], kept: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, why) of everything in a JSON value that ``scrub`` would have removed."""
    removed: list[str] = []
    _scrubbed(value, "", reasons, kept, removed)
    for dotted in removed:
        name = re.sub(r"\[\d+\]", "", dotted).rpartition(".")[2].lower()
        yield dotted, reasons.get(name) or "the value has the form of a date, a time of day or a DICOM unique number"


def identifying_form(text: str) -> str | None:
    """Return what ``text`` as a whole looks like (``a date``) if that identifies, else None; shifted dates do not."""
    return next((what for pattern, what in _FORMS if pattern.fullmatch(text.strip())), None)


def date_shift_days(subject_label: str, key: bytes) -> int:
    """Return by how many days all dates of a subject move back: the same for one key and subject in every call.

    ``SHIFT_FLOOR_DAYS + (HMAC-SHA256(key, purpose ‖ label), first 8 bytes) mod SHIFT_SPREAD_DAYS``. Intervals between
    the scans of a subject stay as they were; those between subjects do not.
    """
    message = _SHIFT_PURPOSE + subject_label.encode()
    number = int.from_bytes(hmac.digest(key, message, "sha256")[:8], "big")
    return SHIFT_FLOOR_DAYS + number % SHIFT_SPREAD_DAYS


def shifted(text: str, days: int) -> str:
    """Return an ISO date or date and time moved back by ``days``; its precision and time of day stay.

    Raises:
        StudyError: ``text`` is no ISO date, or the result would not lie before 1925.
    """
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?", text.strip())
    moved = None
    if match:
        with contextlib.suppress(ValueError, OverflowError):
            moved = date.fromisoformat(match[1]) - timedelta(days=days)
    if match is None or moved is None or moved.year >= 1925:
        what = f"{text!r} cannot be shifted by {days} days to before 1925"
        raise StudyError(what, where="acquisition time", next_step="give it as YYYY-MM-DDTHH:MM:SS")
    # A time zone says where the scanner stood; time of day alone does not.
    return moved.isoformat() + (match[2] or "").replace(" ", "T")


def acquisition_time(extra: Mapping[str, Any]) -> str | None:
    """Return when a recording began (ISO) from what dcm2niix wrote about it, or None; to be shifted before use."""
    found = extra.get("AcquisitionDateTime")
    return found if isinstance(found, str) and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", found) else None


def load_shift_key(path: Path, *, dataset: Path | None = None) -> bytes:
    """Return the secret that date shifts follow from; it is made (mode 600) when the file is not there.

    Args:
        path: a text file of one line of 64 hex digits.
        dataset: the dataset that is being written; the secret may not lie inside it.

    Raises:
        StudyError: the file would lie in the dataset.
        RecordError: the file holds something else.
    """
    real = path.resolve()
    if dataset is not None and real.is_relative_to(dataset.resolve()):
        what = "the key of the date shift lies inside the dataset"
        raise StudyError(what, where=str(path), next_step="name a file elsewhere in `privacy.shift_key`")
    if not path.exists():
        _make_key(path)
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"the key of the date shift cannot be read ({error})", where=str(path)) from error
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        step = "restore the key from a backup: with another one, every date would move differently"
        raise RecordError("the key of the date shift is not one line of 64 hex digits", where=str(path), next_step=step)
    return bytes.fromhex(text)


def _make_key(path: Path) -> None:
    """Make the key so that of two processes one wins and both read the same."""
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name[:40]}-{secrets.token_hex(4)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _scrubbed(value: Any, dotted: str, reasons: Mapping[str, str], kept: frozenset[str], removed: list[str]) -> Any:
    """Return ``value`` without what identifies; the dotted keys of what went are added to ``removed``."""
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            place = f"{dotted}.{key}" if dotted else str(key)
            form = isinstance(item, str) and identifying_form(item) and str(key).lower() not in kept
            if str(key).lower() in reasons or form:
                removed.append(place)
            else:
                result[key] = _scrubbed(item, place, reasons, kept, removed)
        return result
    if isinstance(value, (list, tuple)):
        items = []
        for index, item in enumerate(value):
            place = f"{dotted}[{index}]"
            name = dotted.rpartition(".")[2].lower()
            if isinstance(item, str) and identifying_form(item) and name not in kept:
                removed.append(place)
            else:
                items.append(_scrubbed(item, place, reasons, kept, removed))
        return items
    return value
