"""Reads plain YAML values by the grammar: every problem is collected with its key, nothing stops at the first.

What keys say of one another is judged by who declares them.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from release_kit.core.errors import UnsafePathError
from release_kit.core.files import safe_relative_path
from release_kit.core.grammar.kinds import Flag, Free, Key, Kind, Many, Named, Number, Numbers, Record, Text, Texts
from release_kit.core.grammar.problem import Problem
from release_kit.core.records import nearest

FILL_IN = "FILL IN"
"""A drafted file says this where only a person knows the value."""

BROKEN = object()
"""Stands where a value was refused."""


@dataclass
class Findings:
    """What reading found, by dotted key: ``problems`` refuse the file, ``unfilled`` is what a draft left open."""

    problems: list[tuple[str, str, str, str]] = field(default_factory=list)
    unfilled: list[str] = field(default_factory=list)

    def refuse(self, key: str, what: str, next_step: str = "", code: str = "recipe-value") -> Any:
        """Note a problem and return ``BROKEN``."""
        self.problems.append((code, key, what, next_step))
        return BROKEN

    def to_problems(self, place: Callable[[str], str], *, unfilled: bool) -> list[Problem]:
        """Return the problems as records; ``place``: key → file and line; ``unfilled`` adds what is left open."""
        found = [
            (place(key), Problem(code=code, what=f"`{key}` {what}" if key else what, where=place(key), next_step=step))
            for code, key, what, step in self.problems
        ]
        for key in self.unfilled if unfilled else ():
            what = f"`{key}` is still to be filled in"
            found.append((place(key), Problem(code="fill-in", what=what, where=place(key), next_step="write it down")))
        return [problem for _, problem in sorted(found, key=lambda pair: _by_line(pair[0]))]


def read_value(kind: Kind, value: Any, key: str, found: Findings) -> Any:
    """Return the value of ``key`` as plain data with defaults filled in; ``BROKEN`` where it was refused."""
    return _READERS[type(kind)](kind, value, key, found)


def read_record(record: Record, value: Any, key: str, found: Findings) -> Any:
    """Return every known key of a mapping; absent ones have their defaults, further ones lie under ``columns``."""
    if not isinstance(value, dict):
        return _expected("a mapping", value, key, found)
    result = {name: _read_key(spec, value, name, key, found) for name, spec in record.keys.items()}
    others = {name: other for name, other in value.items() if name not in record.keys}
    if record.others is not None:
        result["columns"] = _free(record.others, others, key, found)
        return result
    for name in others:
        close = nearest(str(name), list(record.keys)).removeprefix("; ")
        found.refuse(dotted(key, name), "is not a known key", close, code="unknown-key")
    return result


def dotted(key: str, name: Any) -> str:
    """Return the dotted key of ``name`` inside ``key``."""
    return f"{key}.{name}" if key else str(name)


def _read_key(spec: Key, value: Mapping, name: str, key: str, found: Findings) -> Any:
    if value.get(name) is None:
        if spec.required:
            return found.refuse(dotted(key, name), "is missing", spec.doc, code="missing-key")
        if spec.filled and isinstance(spec.kind, Record):
            return read_record(spec.kind, {}, dotted(key, name), found)
        return spec.default
    return read_value(spec.kind, value[name], dotted(key, name), found)


def _text(kind: Text, value: Any, key: str, found: Findings) -> Any:
    if isinstance(value, bool) or (value is not None and not isinstance(value, (str, dict, list))):
        step = "put it in quotes: YAML reads 01, no and 2024-01-02 as numbers, truth values and dates"
        return found.refuse(key, f"is {value!r}, expected text", step)
    if not isinstance(value, str):
        return _expected("text", value, key, found)
    if FILL_IN in value:
        found.unfilled.append(key)
        if not (kind.pattern or kind.choices or kind.placeholders):
            return value
        return kind.stand_in or BROKEN
    if not value.strip() or any(c < " " and c not in "\n\t" for c in value):
        return found.refuse(key, f"is {value!r}, expected readable text")
    if kind.one_line and ("\n" in value or "\t" in value):
        return found.refuse(key, f"is {value[:60]!r}, expected one line without tabs")
    if kind.choices and value not in kind.choices:
        return found.refuse(key, f"is {value!r}", nearest(value, kind.choices).removeprefix("; "))
    if kind.pattern and not re.fullmatch(kind.pattern, value):
        return found.refuse(key, f"is {value!r}", f"use {kind.words}")
    return _file_pattern(kind, value, key, found) if kind.placeholders else value


def _file_pattern(kind: Text, value: str, key: str, found: Findings) -> Any:
    """A pattern is a relative path that stays in its folder and names only what is known of its files."""
    import string

    try:
        parts = list(string.Formatter().parse(value))
        names = [name for _, name, _, _ in parts if name is not None]
        if odd := [name for _, name, form, conversion in parts if conversion or not _is_form(name, form)]:
            raise ValueError(f"{{{odd[0]}}} takes no format; only {{run}} does, as in {{run:02d}}")
        if unknown := [name for name in names if name not in kind.placeholders]:
            step = nearest(unknown[0], kind.placeholders).removeprefix("; ")
            return found.refuse(key, f"names {{{unknown[0]}}}, which is nothing known of these files", step)
        tried = value.format(**{name: 1 if name == "run" else "x" for name in kind.placeholders})
        if "**" in value:
            raise ValueError("`**` is not understood; `*` and `?` match inside one folder")
        safe_relative_path(tried, where=key)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        return found.refuse(key, f"is no pattern: {error}", "write names in braces, as in {task}_run{run:02d}.nii.gz")
    except UnsafePathError:
        step = "write a path relative to the folder of the sources, with '/'; name that folder in `sources`"
        return found.refuse(key, f"is {value!r}, which leaves the folder of the sources", step)
    return value


def _is_form(name: str | None, form: str | None) -> bool:
    """A number of digits for a run; anything more could ask for gigabytes of blanks."""
    return not form or (name == "run" and re.fullmatch(r"0?[1-9]d|d", form) is not None)


def _number(kind: Number, value: Any, key: str, found: Findings) -> Any:
    if isinstance(value, str) and FILL_IN in value:
        found.unfilled.append(key)
        return BROKEN
    if isinstance(value, bool) or not isinstance(value, int if kind.whole else (int, float)):
        return _expected("a whole number" if kind.whole else "a number", value, key, found)
    if not math.isfinite(value):
        return found.refuse(key, f"is {value}, expected a finite number")
    if kind.above is not None and value <= kind.above:
        return found.refuse(key, f"is {value}, expected more than {kind.above:g}")
    if kind.least is not None and value < kind.least:
        return found.refuse(key, f"is {value}, expected {kind.least:g} or more")
    return value if kind.whole else float(value)


def _flag(kind: Flag, value: Any, key: str, found: Findings) -> Any:
    return value if isinstance(value, bool) else _expected("true or false", value, key, found)


def _texts(kind: Texts, value: Any, key: str, found: Findings) -> Any:
    if not isinstance(value, list) or len(value) < kind.least:
        return _expected("a list of texts" + (", at least one" if kind.least else ""), value, key, found)
    return tuple(_text(Text(), item, f"{key}[{index}]", found) for index, item in enumerate(value))


def _numbers(kind: Numbers, value: Any, key: str, found: Findings) -> Any:
    if not isinstance(value, list) or len(value) < kind.least:
        return _expected("a list of numbers" + (", at least one" if kind.least else ""), value, key, found)
    return tuple(_number(kind.number, item, f"{key}[{index}]", found) for index, item in enumerate(value))


def _free(kind: Free, value: Any, key: str, found: Findings) -> Any:
    if not isinstance(value, dict):
        return _expected("a mapping", value, key, found)
    for name, item in value.items():
        if not isinstance(name, str):
            found.refuse(dotted(key, name), f"the key is {name!r}, expected text", "put it in quotes")
        elif isinstance(item, str) and FILL_IN in item:
            found.unfilled.append(dotted(key, name))
        elif kind.texts:
            _text(Text(), item, dotted(key, name), found)
        elif kind.scalars:
            _scalar(item, dotted(key, name), found)
        else:
            _plain(item, dotted(key, name), found)
    return {name: item for name, item in value.items() if item is not None}


def _scalar(value: Any, key: str, found: Findings) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        found.refuse(key, f"is {value!r}, expected text or a number", "put it in quotes if it is text")
    elif isinstance(value, float) and not math.isfinite(value):
        found.refuse(key, f"is {value}, expected a finite number", "leave out what is not known")


def _plain(value: Any, key: str, found: Findings) -> None:
    """What JSON can hold: a date or a NaN could not be written into a sidecar."""
    if isinstance(value, dict):
        for name, item in value.items():
            _plain(item, dotted(key, name), found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _plain(item, f"{key}[{index}]", found)
    elif not (value is None or isinstance(value, (str, int, float))):
        found.refuse(key, f"is a {type(value).__name__}, which JSON cannot hold", "put it in quotes")
    elif isinstance(value, float) and not math.isfinite(value):
        found.refuse(key, f"is {value}, expected a finite number")


def _many(kind: Many, value: Any, key: str, found: Findings) -> Any:
    if not isinstance(value, list) or len(value) < kind.least:
        return _expected("a list" + (" of at least one" if kind.least else ""), value, key, found)
    return tuple(read_record(kind.record, item, f"{key}[{index}]", found) for index, item in enumerate(value))


def _named(kind: Named, value: Any, key: str, found: Findings) -> Any:
    if not isinstance(value, dict) or len(value) < kind.least:
        return _expected("a mapping" + (" with at least one entry" if kind.least else ""), value, key, found)
    result = {}
    for name, item in value.items():
        if not isinstance(name, str):
            step = "put it in quotes: YAML reads 01 as a number"
            found.refuse(dotted(key, name), f"the label is {name!r}, expected text", step, code="label")
        elif not re.fullmatch(kind.pattern, name):
            found.refuse(dotted(key, name), f"the label is {name!r}", f"use {kind.words}", code="label")
        reader = read_record if isinstance(kind.value, Record) else _free
        result[name] = reader(kind.value, item, dotted(key, name), found)  # type: ignore[arg-type]
    return result


def _expected(what: str, value: Any, key: str, found: Findings) -> Any:
    shown = "empty" if value is None else f"{value!r}"[:80]
    return found.refuse(key, f"is {shown}, expected {what}")


def _by_line(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)


_READERS: Mapping[type, Callable[..., Any]] = {
    Text: _text,
    Number: _number,
    Flag: _flag,
    Texts: _texts,
    Numbers: _numbers,
    Free: _free,
    Record: read_record,
    Many: _many,
    Named: _named,
}
