"""Times of annotation files as exact decimals of seconds, and back to the spelling of each format.

Decimals and not floats, so that ``end - onset`` is the duration that was meant (0.3, not 0.30000000000000004) and an
end written from a duration gives the same duration when it is read.
"""

import functools
import re
from decimal import Context, Decimal, InvalidOperation

UNITS = ("s", "ms", "timecode")

_CLOCK = re.compile(r"(?:(?:(\d{1,9}):)?(\d{1,2}):)(\d{1,2}(?:[.,]\d+)?)")
_NUMBER = re.compile(r"[+-]?(?:\d{1,200}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?")
"""No number that this matches is beyond the range of a float."""
_EXACT = Context(prec=800)
"""Enough digits for the sum of any two floats; sums of everyday times use few of them."""


def parse_number(text: str) -> Decimal:
    """Return a plain decimal number.

    Raises:
        ValueError: not a finite number (NaN, an infinity, a decimal comma, words).
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a plain number" if text.strip() else "the time is missing")
    return Decimal(text.strip())


def parse_clock(text: str) -> Decimal:
    """Return the seconds of ``[h:]mm:ss[.fraction]``; a comma may stand for the point.

    Raises:
        ValueError: another form, or minutes or seconds of 60 and more below a larger unit.
    """
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a time like 0:01:23.450")
    hours, minutes, seconds = found[1], int(found[2]), Decimal(found[3].replace(",", "."))
    if seconds >= 60 or (hours and minutes >= 60):
        raise ValueError(f"{text!r} has 60 or more minutes or seconds")
    return int(hours or 0) * 3600 + minutes * 60 + seconds


def parse_time(text: str, unit: str) -> Decimal:
    """Return the seconds of ``text`` in ``unit``: one of ``UNITS``.

    Raises:
        ValueError: ``text`` has another form.
    """
    if unit == "timecode":
        return parse_clock(text)
    number = parse_number(text)
    return number.scaleb(-3) if unit == "ms" else number


def parse_span(onset: str | None, duration: str | None) -> tuple[float, float]:
    """Return onset and duration of a row of one of our own tables, in seconds.

    Raises:
        ValueError: one is missing, no plain number, or negative.
    """
    found = []
    for name, text in (("onset", onset), ("duration", duration)):
        try:
            value = parse_number(text or "")
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if value < 0:
            raise ValueError(f"{name}: {text} is negative")
        found.append(float(value))
    return found[0], found[1]


@functools.lru_cache(maxsize=65536)
def exact(value: float) -> Decimal:
    """Return the decimal that a person would write for ``value``; ``float(exact(x)) == x``."""
    return Decimal(repr(float(value)))


def plus(first: Decimal, second: Decimal) -> Decimal:
    """Return the exact sum, however far apart the two are."""
    return _EXACT.add(first, second)


def minus(first: Decimal, second: Decimal) -> Decimal:
    """Return the exact difference."""
    return _EXACT.subtract(first, second)


def end_of(onset_s: float, duration_s: float) -> Decimal:
    """Return the end such that ``float(minus(end, exact(onset_s))) == duration_s``."""
    return plus(exact(onset_s), exact(duration_s))


def decimal_text(value: Decimal) -> str:
    """Return ``value`` without an exponent and without needless zeros: ``12``, ``0.5``."""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def milliseconds(value: Decimal) -> int:
    """Return the nearest whole millisecond, halves up."""
    try:
        return int(_EXACT.add(_EXACT.scaleb(value, 3), Decimal("0.5")) // 1)
    except InvalidOperation as error:
        raise ValueError(f"{value} s has no number of milliseconds") from error


def clock_text(value_ms: int, point: str) -> str:
    """Return ``hh:mm:ss<point>mmm`` of a whole number of milliseconds."""
    seconds, rest = divmod(value_ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
