"""Rules from paths to levels: ``runs/{base_model}/{dataset}-seed{seed}/checkpoint-*``.

A rule is matched against the declared levels' texts, never against a guess of where a name ends: ``lima-seed`` and
``lima`` may both be levels, a level may hold ``-`` or ``/``. Owns the rule, its strict reader and the walk over the
disk; what the matched files mean is up to ``checkpoints.py`` and the readers of results.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.errors import ReleaseKitError, StudyError, UnsafePathError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, safe_relative_path
from release_kit.core.grid import Levels, describe, has_level, level_text, parse_level
from release_kit.core.records import Fields, nearest
from release_kit.core.study import Level, Study, nearest_level

_TOKEN = re.compile(r"(\*\*/|\*|\{[^{}]*\})")
_STAR, _DEEP, _SLOT = "\0*", "\0**/", "\0{"
"""Tokens that are not literal text begin with NUL, which no path can hold."""


@dataclass(frozen=True, kw_only=True)
class PathRule:
    """A pattern over paths relative to the study: literal text, ``{factor}``, ``*`` (no ``/``), ``**/``."""

    text: str
    key: str
    """Dotted key of the rule in ``study.yaml``, for messages."""
    factors: tuple[str, ...]
    """All factors, in the order in which the study declares them."""
    texts: Mapping[str, Mapping[str, Level]]
    """Factor → text as it stands in paths → level, for the factors that the path names."""
    fixed: Mapping[str, Level] = field(default_factory=dict)
    """Levels that hold for everything the rule matches."""
    follow_links: bool = False
    """Follow symbolic links that leave the study folder."""

    @property
    def root(self) -> str:
        """The folder above the first part that varies; empty for the study folder itself."""
        return re.split(r"[*{]", self.text, maxsplit=1)[0].rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Match:
    """One path that follows the rule, and the levels that it stands for."""

    path: str
    levels: Levels


def path_rule_from(fields: Fields, study: Study) -> PathRule:
    """Read the keys ``path``, ``levels``, ``values`` and ``follow_links`` of one entry.

    Raises:
        RecordError: an unknown factor or level, a factor that is given twice or not at all, an unsafe path.
    """
    text = fields.take("path", str)
    named = [token[2:-1] for token in _tokens(text) if token.startswith(_SLOT)]
    factors = tuple(factor.name for factor in study.factors)
    for name in named:
        if name not in factors:
            raise fields.error("path", f"names {{{name}}}, which is no factor{nearest(name, factors)}")
    try:
        safe_relative_path(text, where=fields.where)
    except UnsafePathError as error:
        raise fields.error("path", f"is {text!r}; expected a path inside the study folder") from error
    if "**" in text.replace("**/", ""):
        raise fields.error("path", "holds '**' without a '/' behind it; '**/' stands for any number of folders")
    fixed = _fixed_levels(fields, study, named)
    if missing := [name for name in factors if name not in named and name not in fixed]:
        step = f"put {{{missing[0]}}} into the path, or `levels: {{{missing[0]}: …}}` beside it"
        raise fields.error("path", f"says nothing of {', '.join(missing)}; {step}")
    values = read_values(fields, study)
    return PathRule(
        text=text,
        key=fields.key,
        factors=factors,
        texts={name: level_texts(study, name, values.get(name, {})) for name in named},
        fixed=fixed,
        follow_links=fields.take("follow_links", bool, False),
    )


def read_values(fields: Fields, study: Study) -> dict[str, dict[str, Level]]:
    """Read ``values: {factor: {text in the source: declared level}}``."""
    declared = fields.child("values", {})
    result = {}
    for name in list(fields.raw("values") or {}):
        if name not in {factor.name for factor in study.factors}:
            known = [factor.name for factor in study.factors]
            raise declared.error(str(name), f"is not a factor{nearest(str(name), known)}")
        inner = declared.take(name, dict)
        result[name] = value_map(declared, name, inner, study.factor(name).levels)
    return result


def value_map(fields: Fields, key: str, written: Mapping, levels: tuple[Level, ...]) -> dict[str, Level]:
    """Return ``{text: level}`` of a ``values`` mapping; keys may be written without quotes (``true``, ``10000.0``).

    Raises:
        RecordError: a value that is not a declared level.
    """
    for text, level in written.items():
        if not has_level(levels, level):
            raise fields.error(f"{key}.{text}", f"is {level!r}, not a declared level{nearest_level(level, levels)}")
    return {level_text(text): level for text, level in written.items()}


def level_texts(study: Study, name: str, values: Mapping[str, Level]) -> dict[str, Level]:
    """Return every text that stands for a level of the factor: the level itself and what ``values`` adds."""
    return {level_text(level): level for level in study.factor(name).levels} | dict(values)


def find_matches(rule: PathRule, root: Path, *, folders: bool) -> tuple[list[Match], list[ReleaseKitError]]:
    """Walk the disk and return what follows the rule, sorted by path, with everything that stood in the way.

    Args:
        rule: the rule.
        root: the study folder.
        folders: match folders, else files.
    """
    walk = _Walk(rule, root, folders)
    walk.enter(root, "", [(_tokens(rule.text), ())], ())
    return sorted(walk.matches, key=lambda match: natural_key(match.path)), walk.problems


def explain_mismatch(rule: PathRule, path: str) -> str:
    """Return why ``path`` does not follow the rule: the first text that is no level, or its other shape."""
    loose, names = "", []
    for token in _tokens(rule.text):
        if token.startswith(_SLOT):
            loose += "([^/]+?)"
            names.append(token[2:-1])
        else:
            loose += {_STAR: "[^/]*", _DEEP: "(?:[^/]+/)*"}.get(token, re.escape(token))
    if found := re.fullmatch(loose, path):
        for name, text in zip(names, found.groups(), strict=True):
            if text not in rule.texts[name]:
                return f"{name} has no level {text!r}{nearest(text, list(rule.texts[name]))}"
    return f"does not follow {rule.text!r}"


def natural_key(text: str) -> list:
    """Return a sort key that puts ``checkpoint-9`` before ``checkpoint-10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", text) if part]


def _fixed_levels(fields: Fields, study: Study, named: list[str]) -> dict[str, Level]:
    known = [factor.name for factor in study.factors]
    result: dict[str, Level] = {}
    inner = fields.child("levels", {})
    for name in list(fields.raw("levels") or {}):
        if name not in known:
            raise inner.error(str(name), f"is not a factor{nearest(str(name), known)}")
        if name in named:
            raise inner.error(str(name), "stands in the path too; keep one")
        levels = study.factor(name).levels
        level = inner.raw(name)
        if not has_level(levels, level):
            raise inner.error(name, f"is {level!r}, not a declared level{nearest_level(level, levels)}")
        result[name] = level
    return result


def _tokens(text: str) -> tuple[str, ...]:
    parts = [(part, index % 2) for index, part in enumerate(_TOKEN.split(text)) if part]
    return tuple(f"\0{part}" if special else part for part, special in parts)


_Bound = tuple[tuple[str, Level], ...]
_State = tuple[tuple[str, ...], _Bound]
"""What of the pattern is still to come, and the levels bound so far."""


class _Walk:
    def __init__(self, rule: PathRule, root: Path, folders: bool):
        self.rule, self.root, self.folders = rule, os.path.realpath(root), folders
        self.matches: list[Match] = []
        self.problems: list[ReleaseKitError] = []

    def enter(self, folder: Path, prefix: str, states: list[_State], above: tuple) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            self.problems.append(StudyError(f"cannot be listed ({error.strerror})", where=prefix or "."))
            return
        for entry in entries:
            if entry.name != STATE_FOLDER and not entry.name.startswith(TEMPORARY_PREFIX):
                self._visit(entry, f"{prefix}{entry.name}", states, above)

    def _visit(self, entry: os.DirEntry, path: str, states: list[_State], above: tuple) -> None:
        after = [new for rest, bound in states for new in self._consume(rest, bound, entry.name)]
        if not after or (entry.is_symlink() and not self._may_follow(entry, path, above)):
            return
        is_folder = entry.is_dir()
        complete = {bound for rest, bound in after if all(token == _STAR for token in rest)}
        if complete and is_folder == self.folders:
            self._add(path, complete)
        deeper = [new for rest, bound in after for new in self._consume(rest, bound, "/")] if is_folder else []
        if deeper:
            identity = (entry.stat().st_dev, entry.stat().st_ino)
            self.enter(Path(entry.path), f"{path}/", deeper, (*above, identity))

    def _add(self, path: str, complete: set[_Bound]) -> None:
        readings = [{name: dict(bound).get(name, self.rule.fixed.get(name)) for name in self.rule.factors}
                    for bound in complete]  # fmt: skip
        if len(readings) > 1:
            ways = " or ".join(sorted(describe(levels) for levels in readings)[:2])
            step = "rename the folder, or write the rule so that only one reading is left"
            self.problems.append(StudyError(f"can be read in two ways: {ways}", where=path, next_step=step))
            return
        self.matches.append(Match(path=path, levels=readings[0]))

    def _may_follow(self, entry: os.DirEntry, path: str, above: tuple) -> bool:
        target = os.path.realpath(entry.path)
        outside = target != self.root and not target.startswith(self.root + os.sep)
        if outside and not self.rule.follow_links:
            step = f"if that is meant, say `follow_links: true` in {self.rule.key}"
            what = f"is a symbolic link that leaves the study folder (to {target})"
            self.problems.append(StudyError(what, where=path, next_step=step))
            return False
        try:
            status = entry.stat()
        except OSError:
            self.problems.append(StudyError("is a symbolic link to nothing", where=path))
            return False
        return (status.st_dev, status.st_ino) not in above

    def _consume(self, rest: tuple[str, ...], bound: _Bound, text: str) -> Iterator[_State]:
        """Yield the states after all of ``text`` (one name, or ``/``) has been matched."""
        if not text:
            yield rest, bound
            return
        if not rest:
            return
        head, tail = rest[0], rest[1:]
        if head == _STAR:
            for start in range(len(text) + 1 if text != "/" else 1):
                yield from self._consume(tail, bound, text[start:])
        elif head == _DEEP:
            yield from self._consume(tail, bound, text)
            if text != "/":
                yield ("/", _DEEP, *tail), bound
        elif head.startswith(_SLOT):
            for written, binding in self._choices(head[2:-1], bound):
                yield from self._literal(written, tail, binding, text)
        else:
            yield from self._literal(head, tail, bound, text)

    def _literal(self, written: str, tail: tuple[str, ...], bound: _Bound, text: str) -> Iterator[_State]:
        if text.startswith(written):
            yield from self._consume(tail, bound, text[len(written) :])
        elif written.startswith(text):
            yield (written[len(text) :], *tail), bound

    def _choices(self, name: str, bound: _Bound) -> Iterator[tuple[str, _Bound]]:
        known = dict(bound)
        for written, level in self.rule.texts[name].items():
            if name not in known:
                yield written, (*bound, (name, level))
            elif has_level((known[name],), level):
                yield written, bound


def parse_written(text: str, texts: Mapping[str, Level]) -> Level | None:
    """Return the level that ``text`` stands for: as written, as a number (``10000.0``), or a boolean in any case."""
    if text in texts:
        return texts[text]
    levels = tuple(texts.values())
    if (level := parse_level(text.lower(), [level for level in levels if isinstance(level, bool)])) is not None:
        return level
    try:
        number = float(text)
    except ValueError:
        return None
    numbers = (level for level in levels if isinstance(level, (int, float)) and not isinstance(level, bool))
    return next((level for level in numbers if level == number), None)
