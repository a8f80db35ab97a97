"""The BIDS schema: names of files, and which keys a sidecar must, should or may have.

The only file that imports bidsschematools. Owns no rule of its own: the order of entities, which entities a suffix
takes, datatypes, and the level of every metadata key are read from the schema; what its conditions mean is
``schema_conditions.py``. Facts themselves come from ``sidecars/facts.py``.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from release_kit.bids.schema_conditions import holds
from release_kit.core.errors import StudyError
from release_kit.core.records import nearest

BIDS_VERSION = "1.11.1"
"""``BIDSVersion`` of what is written: the newest version that the reference validator carries with it."""

LEVELS = ("required", "recommended", "optional", "deprecated", "prohibited")
"""Levels of a key, the strongest first."""


@dataclass(frozen=True, kw_only=True)
class NameRule:
    """Which files of one kind may exist: their suffixes, extensions, folders and entities (short names)."""

    suffixes: frozenset[str]
    extensions: frozenset[str]
    datatypes: tuple[str, ...]
    entities: Mapping[str, str]
    """Short name → ``required`` or ``optional``."""
    derivative: bool


@dataclass(frozen=True, kw_only=True)
class BidsName:
    """What a file name says: ``entities`` by short name in the order of the name, suffix, extension, folder."""

    entities: Mapping[str, str]
    suffix: str
    extension: str
    datatype: str | None


def bids_name(
    *,
    suffix: str,
    extension: str = ".nii.gz",
    subject: str | None = None,
    session: str | None = None,
    datatype: str | None = None,
    **entities: str | int | None,
) -> str:
    """Return the path inside a dataset of the file with these entities, as the schema orders them.

    ``bids_name(subject="01", task="x", run=1, suffix="bold")`` is ``sub-01/func/sub-01_task-x_run-01_bold.nii.gz``.
    Without a subject it is the name of an inherited file at the root of the dataset.

    Args:
        suffix: ``bold``, ``T1w``, ``events``, ``scans`` …
        extension: with its dot.
        subject: label without ``sub-``.
        session: label without ``ses-``.
        datatype: the folder (``func``); found from the schema if None (``func`` where it is one of several).
        entities: by long or short name (``description`` or ``desc``); None is absent; an integer gets two digits.

    Raises:
        StudyError: the schema knows no such file, an entity is unknown, or a label has other characters than allowed.
    """
    labels = _labels({"subject": subject, "session": session, **entities})
    subject = labels.get("sub")
    rule_types = _datatypes(suffix, extension, labels, datatype)
    stem = "_".join([f"{name}-{label}" for name, label in labels.items()] + [suffix])
    if subject is None:
        return stem + extension
    folders = [f"{name}-{labels[name]}" for name in ("sub", "ses") if name in labels]
    return "/".join([*folders, *([rule_types] if rule_types else []), stem + extension])


def parse_name(path: str) -> BidsName:
    """Return what the name of a file says; ``parse_name(bids_name(**x))`` has the entities of ``x``.

    Raises:
        StudyError: the name is not made of ``key-value`` parts and a suffix.
    """
    pure = PurePosixPath(path)
    stem, dot, rest = pure.name.partition(".")
    *parts, suffix = stem.split("_")
    pairs = [part.partition("-") for part in parts]
    if not all(dash and name and label for name, dash, label in pairs) or "-" in suffix or not suffix:
        raise StudyError(
            f"{pure.name!r} is not a BIDS name", where=path, next_step="name it <key>-<label>_<suffix>.<ext>"
        )
    datatype = pure.parent.name if pure.parent.name in _all_datatypes() else None
    return BidsName(
        entities={name: label for name, _, label in pairs}, suffix=suffix, extension=dot + rest, datatype=datatype
    )


def sidecar_keys(
    suffix: str,
    datatype: str,
    *,
    values: Mapping[str, Any] | None = None,
    entities: Mapping[str, str] | None = None,
    extension: str = ".nii.gz",
    datatypes: tuple[str, ...] = (),
    derivative: bool = False,
) -> dict[str, str]:
    """Return every metadata key that the schema names for such a file → its level, sorted by level and name.

    Args:
        suffix: of the data file.
        datatype: its folder.
        values: what its sidecar holds; conditions of the schema look at it (``MRAcquisitionType == "2D"``).
        entities: short or long name → label of the data file.
        extension: of the data file.
        datatypes: every datatype of the dataset, for rules that depend on it.
        derivative: whether the dataset is a derivative.
    """
    context = _context(suffix, datatype, values or {}, entities or {}, extension, datatypes, derivative)
    found: dict[str, str] = {}
    for selectors, fields in _sidecar_rules():
        if all(holds(_parsed(condition), context) for condition in selectors):
            for key, level in fields.items():
                if key not in found or LEVELS.index(level) < LEVELS.index(found[key]):
                    found[key] = level
    return dict(sorted(found.items(), key=lambda pair: (LEVELS.index(pair[1]), pair[0])))


@functools.cache
def _schema() -> Any:
    from bidsschematools.schema import load_schema

    return load_schema()


@functools.cache
def _entities() -> dict[str, str]:
    """Long name → short name, in the order of file names."""
    schema = _schema()
    return {long: str(schema.objects.entities[long].name) for long in schema.rules.entities}


@functools.cache
def _all_datatypes() -> frozenset[str]:
    return frozenset(str(item.value) for item in _schema().objects.datatypes.values())


def _labels(given: Mapping[str, str | int | None]) -> dict[str, str]:
    """Return short name → label in schema order, everything checked."""
    known, problems, labels = _entities(), [], {}
    for name, value in given.items():
        short = known.get(name, name)
        if value is None:
            continue
        label = f"{value:02d}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        if short not in known.values():
            problems.append(f"{name!r} is not an entity{nearest(name, [*known, *known.values()])}")
        elif not re.fullmatch(r"[0-9]+" if _is_index(short) else r"[0-9A-Za-z]+", label):
            kind = "a whole number" if _is_index(short) else "letters and digits only"
            problems.append(f"{short}-{label} is no label: it must be {kind}")
        labels[short] = label
    if problems:
        raise StudyError("; ".join(problems), where="BIDS name", next_step="correct the recipe")
    return {short: labels[short] for short in known.values() if short in labels}


@functools.cache
def _is_index(short: str) -> bool:
    long = next(name for name, known in _entities().items() if known == short)
    return str(_schema().objects.entities[long].get("format")) == "index"


def _datatypes(suffix: str, extension: str, labels: Mapping[str, str], asked: str | None) -> str | None:
    """Return the folder for a file, or None where the schema puts it into the subject's folder."""
    inherited = "sub" not in labels
    rules = [rule for rule in _name_rules() if suffix in rule.suffixes and extension in rule.extensions]
    fitting = [rule for rule in rules if _fits(rule, labels, inherited)]
    fitting = [rule for rule in fitting if not rule.derivative] or fitting
    found = sorted({datatype for rule in fitting for datatype in rule.datatypes})
    if not fitting or (asked is not None and asked not in found and not inherited):
        raise StudyError(_no_such_file(suffix, extension, labels, rules, asked), where="BIDS name")
    if asked is not None or not found or inherited:
        return asked if found and not inherited else None
    if len(found) > 1 and "func" not in found:
        raise StudyError(
            f"{suffix}{extension} lies in one of {found}", where="BIDS name", next_step="name the datatype"
        )
    return found[0] if len(found) == 1 else "func"


def _fits(rule: NameRule, labels: Mapping[str, str], inherited: bool) -> bool:
    needed = {name for name, level in rule.entities.items() if level == "required"}
    return set(labels) <= set(rule.entities) and (inherited or needed <= set(labels))


def _no_such_file(
    suffix: str, extension: str, labels: Mapping[str, str], rules: list[NameRule], asked: str | None
) -> str:
    name = "_".join([f"{key}-{label}" for key, label in labels.items()] + [suffix]) + extension
    if not rules:
        every = sorted({each for rule in _name_rules() for each in rule.suffixes if extension in rule.extensions})
        return f"BIDS has no file {name!r}: the suffix {suffix!r} with {extension!r} is unknown{nearest(suffix, every)}"
    rules = [rule for rule in rules if not rule.derivative] or rules
    takes = sorted({entity for rule in rules for entity in rule.entities})
    needs = sorted(set.intersection(*[{k for k, v in rule.entities.items() if v == "required"} for rule in rules]))
    place = f" in {asked}/" if asked else ""
    return f"BIDS has no file {name!r}{place}: {suffix} takes the entities {takes} and needs {needs}"


@functools.cache
def _name_rules() -> tuple[NameRule, ...]:
    files = _schema().rules.files
    groups = [(files.raw, False), (files.deriv, True), ({"tables": files.common.tables}, False)]
    rules = [
        _name_rule(rule, derivative)
        for group, derivative in groups
        for kinds in group.values()
        for rule in kinds.values()
    ]
    return tuple(rule for rule in rules if rule is not None)


def _name_rule(rule: Mapping[str, Any], derivative: bool) -> NameRule | None:
    if "suffixes" not in rule:
        return None
    levels = {
        _entities()[name]: level if isinstance(level, str) else level["level"]
        for name, level in rule["entities"].items()
    }
    return NameRule(
        suffixes=frozenset(rule["suffixes"]),
        extensions=frozenset(rule["extensions"]),
        datatypes=tuple(rule.get("datatypes", ())),
        entities=levels,
        derivative=derivative,
    )


@functools.cache
def _sidecar_rules() -> tuple[tuple[tuple[str, ...], Mapping[str, str]], ...]:
    """Return (conditions, key → level) of every rule for sidecars of data files."""
    found = []
    waiting = list(_schema().rules.sidecars.values())
    while waiting:
        rule = waiting.pop(0)
        if "selectors" not in rule:
            waiting.extend(rule.values())
            continue
        names = {key: str(_schema().objects.metadata[key].name) for key in rule["fields"]}
        levels = {
            names[key]: level if isinstance(level, str) else level["level"] for key, level in rule["fields"].items()
        }
        found.append((tuple(map(str, rule["selectors"])), levels))
    return tuple(found)


@functools.cache
def _parsed(condition: str) -> Any:
    """Return a parsed condition; parsing takes milliseconds, and most rules fail at their first, common one."""
    from bidsschematools.expressions import parse

    return parse(condition)


def _context(
    suffix: str,
    datatype: str,
    values: Mapping[str, Any],
    entities: Mapping[str, str],
    extension: str,
    datatypes: tuple[str, ...],
    derivative: bool,
) -> dict[str, Any]:
    """Return the names that conditions of the schema speak of, for one data file."""
    modality = {str(each): name for name, group in _schema().rules.modalities.items() for each in group.datatypes}
    every = sorted({datatype, *datatypes})
    short_to_long = {short: long for long, short in _entities().items()}
    labels = {key: label for name, label in entities.items() for key in (name, short_to_long.get(name, name))}
    return {
        "suffix": suffix,
        "datatype": datatype,
        "extension": extension,
        "modality": modality.get(datatype),
        "sidecar": dict(values),
        "entities": labels,
        "dataset": {
            "datatypes": every,
            "modalities": sorted({str(modality[each]) for each in every if each in modality}),
            "dataset_description": {"DatasetType": "derivative" if derivative else "raw"},
        },
    }
