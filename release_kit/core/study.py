"""``study.yaml``: what a study declares — factors, exclusions, seeds, settings, sources of results, release facts.

Owns the record and its strict reader. Expanding it into cells is ``grid.py``; reading the declared results is
``results_csv.py`` and ``results_lm_eval.py``. The format is written down in ``docs/formats/study.md``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core.dataset_tree import DATASET_KIND, TREE_LAYOUT
from release_kit.core.errors import StudyError
from release_kit.core.records import Fields, check_schema_version, nearest
from release_kit.core.results import COLUMNS as RESULT_COLUMNS
from release_kit.core.words import LAYOUTS, STUDY_FILE, Level

SCHEMA_VERSIONS = (1,)
SEED_FACTOR = "seed"
ARTIFACTS = ("weights", "results-only", DATASET_KIND)
ROLES = (
    "base_model",
    "dataset",
    "method",
    "seed",
    "step",
    "epoch",
    "size",
    "layer",
    "data_size",
    "schedule",
    "other",
)
"""What a factor can mean for checks and cards; a factor named like a role has that role by default."""

RESERVED_COLUMNS = frozenset(RESULT_COLUMNS) | {"name", "kind", "n_files", "size_bytes", "weights_digest"}
"""Columns of ``results.parquet`` and ``cells.parquet``; each factor is a column beside them."""

_KIND_NAMES = {str: "text", int: "a number", float: "a number", bool: "true or false"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_FACTOR_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One factor of the grid."""

    name: str
    role: str
    levels: tuple[Level, ...]
    properties: Mapping[Level, Mapping[str, Any]] = field(default_factory=dict)
    """What is known of a level: for a base model ``hub_id``, ``license``, ``path``; for a dataset ``hub_id`` …"""


@dataclass(frozen=True, kw_only=True)
class HubBenchmark:
    """The benchmark on the Hub that a metric is the score of; without one, no ``.eval_results`` are written."""

    dataset: str
    """Dataset that is registered as a benchmark there (``cais/mmlu``)."""
    task_id: str
    """One of the tasks that the benchmark's ``eval.yaml`` lists."""
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class MetricRule:
    """What a metric may be: the range it must lie in, what guessing gives, and whether more is better."""

    low: float | None = None
    high: float | None = None
    chance: float | None = None
    """What an answer picked at random scores, on the scale of the values; far below it answers were not understood."""
    higher_is_better: bool = True
    unit: str | None = None
    hub: HubBenchmark | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A declared experiment; ``folder`` is where its ``study.yaml`` lies."""

    folder: Path
    name: str
    version: str
    factors: tuple[Factor, ...]
    title: str | None = None
    description: str | None = None
    authors: tuple[str, ...] = ()
    license: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    citation: str | None = None
    limits: str | None = None
    homepage: str | None = None
    namespace: str | None = None
    """Account on the Hub that cards name; without it they show how to load from a downloaded folder."""
    layout: str | None = None
    """How cells lie on the Hub: ``repos``, ``branches``, ``folders`` or, for a dataset, ``tree``; None lets ``publish``
    choose."""
    include: tuple[Mapping[str, Any], ...] = ()
    exclude: tuple[Mapping[str, Any], ...] = ()
    artifacts: str = "weights"
    results_only: tuple[Mapping[str, Any], ...] = ()
    baseline: Mapping[str, Any] | None = None
    """Partial levels of the cells that others are compared with (the untouched base models)."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Training and evaluation settings; part of the identity of every cell."""
    benchmarks: Mapping[str, Mapping[str, MetricRule]] = field(default_factory=dict)
    results: tuple[Mapping[str, Any], ...] = ()
    checkpoints: tuple[Mapping[str, Any], ...] = ()
    names: str | None = None
    """Template of the release name of a cell, over factor names: ``{base_model}-{dataset}-s{seed}``."""
    allow: tuple[Mapping[str, Any], ...] = ()
    """Problems that the authors know and accept: ``{code, where?, reason}``; reported, but not refused."""

    @property
    def is_dataset(self) -> bool:
        """Whether the cells are parts of one dataset."""
        return self.artifacts == DATASET_KIND

    def factor(self, name: str) -> Factor:
        """Return the factor called ``name``.

        Raises:
            StudyError: there is none.
        """
        for factor in self.factors:
            if factor.name == name:
                return factor
        known = [factor.name for factor in self.factors]
        raise StudyError(f"no factor {name!r}{nearest(name, known)}", where=str(self.folder / STUDY_FILE))

    def factor_with_role(self, role: str) -> Factor | None:
        """Return the first factor that has ``role``, or None."""
        return next((factor for factor in self.factors if factor.role == role), None)

    def level_properties(self, levels: Mapping[str, Level], role: str) -> Mapping[str, Any]:
        """Return what the study says of the level that a cell has for the factor with ``role``; empty if nothing."""
        factor = self.factor_with_role(role)
        return factor.properties.get(levels.get(factor.name), {}) if factor else {}


def read_study(path: Path) -> Study:
    """Read a study from its folder or from its ``study.yaml``.

    Raises:
        StudyError: there is no study file.
        RecordError: the file is not valid; the message names the dotted key.
    """
    file = path / STUDY_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        step = f"create a {STUDY_FILE} there, or name the folder that holds one"
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise StudyError(f"no study can be read here ({reason})", where=str(file), next_step=step) from error
    return parse_study(text, folder=file.parent, where=str(file))


def parse_study(text: str, *, folder: Path, where: str = STUDY_FILE) -> Study:
    """Parse the text of a ``study.yaml``.

    Raises:
        RecordError: broken YAML, duplicate or unknown keys, wrong types, contradictions between keys.
    """
    from release_kit.core.strict_yaml import parse_yaml

    fields = Fields(parse_yaml(text, where), where)
    check_schema_version(fields, SCHEMA_VERSIONS)
    study = _study_from(fields, folder)
    fields.done()
    return study


def _study_from(fields: Fields, folder: Path) -> Study:
    factors = _factors_from(fields)
    names = {factor.name: factor for factor in factors}
    name = fields.take("name", str)
    if not _NAME.fullmatch(name):
        raise fields.error("name", f"is {name!r}; use letters, digits, '.', '_' and '-', 64 at most")
    artifacts = fields.take("artifacts", str, "weights")
    if artifacts not in ARTIFACTS:
        raise fields.error("artifacts", f"is {artifacts!r}; expected one of {list(ARTIFACTS)}")
    return Study(
        folder=folder,
        name=name,
        version=_version(fields),
        factors=factors,
        title=fields.take("title", str, None),
        description=fields.take("description", str, None),
        authors=tuple(fields.take_list("authors", str, [])),
        license=fields.take("license", str, None),
        languages=tuple(fields.take_list("languages", str, [])),
        tags=tuple(fields.take_list("tags", str, [])),
        citation=fields.take("citation", str, None),
        limits=fields.take("limits", str, None),
        homepage=fields.take("homepage", str, None),
        namespace=fields.take("namespace", str, None),
        layout=_layout(fields, artifacts),
        include=_partials(fields, "include", names),
        exclude=_partials(fields, "exclude", names),
        artifacts=artifacts,
        results_only=_partials(fields, "results_only", names),
        baseline=_baseline(fields, names),
        settings=fields.take("settings", dict, {}),
        benchmarks=_benchmarks(fields),
        results=tuple(fields.take_list("results", dict, [])),
        checkpoints=tuple(fields.take_list("checkpoints", dict, [])),
        names=fields.take("names", str, None),
        allow=_allowances(fields),
    )


def _version(fields: Fields) -> str:
    """A version is text: YAML reads an unquoted ``1.10`` as the number 1.1, which is another version."""
    version = fields.take("version", (str, int, float))
    if isinstance(version, float):
        raise fields.error("version", f"is the number {version}; put it in quotes, so that 1.10 is not 1.1")
    text = str(version)
    if not _VERSION.fullmatch(text):
        raise fields.error("version", f"is {text!r}; use letters, digits, '.', '_', '+' and '-', as in '1.0.0'")
    return text


def _layout(fields: Fields, artifacts: str) -> str | None:
    layout = fields.take("layout", str, None)
    if layout is not None and layout not in (*LAYOUTS, TREE_LAYOUT):
        raise fields.error("layout", f"is {layout!r}{nearest(layout, (*LAYOUTS, TREE_LAYOUT))}")
    if layout is not None and (layout == TREE_LAYOUT) != (artifacts == DATASET_KIND):
        raise fields.error("layout", f"is {layout!r}; a dataset lies on the Hub as `tree`, and nothing else does")
    return layout


def _factors_from(fields: Fields) -> tuple[Factor, ...]:
    declared = fields.child("factors")
    factors = [_factor_from(declared, name) for name in list(fields.raw("factors"))]
    seeds = fields.take_list("seeds", int, [])
    if seeds:
        if any(factor.name == SEED_FACTOR for factor in factors):
            raise fields.error("seeds", "and a factor named 'seed' are both given; keep one")
        factors.append(Factor(name=SEED_FACTOR, role=SEED_FACTOR, levels=_unique(fields, "seeds", seeds)))
    if not factors:
        raise fields.error("factors", "is empty; a study needs at least one factor")
    return tuple(factors)


def _factor_from(declared: Fields, name: str) -> Factor:
    if not isinstance(name, str) or not _FACTOR_NAME.fullmatch(name):
        raise declared.error(str(name), "is not a factor name; use lower-case letters, digits and '_'")
    if name in RESERVED_COLUMNS:
        raise declared.error(name, "is the name of a column of the published tables; call the factor otherwise")
    value = declared.raw(name)
    role = name if name in ROLES else "other"
    if isinstance(value, dict) and "levels" in value:
        inner = Fields(value, declared.where, f"{declared.key}.{name}")
        value, role = inner.raw("levels"), inner.take("role", str, role)
        if role not in ROLES:
            raise inner.error("role", f"is {role!r}{nearest(role, ROLES)}")
        inner.done()
    properties: Mapping = {}
    if isinstance(value, dict):
        properties = {level: known or {} for level, known in value.items()}
        if bad := [level for level, known in properties.items() if not isinstance(known, dict)]:
            raise declared.error(f"{name}.{bad[0]}", "expected a mapping of what is known of this level")
        value = list(value)
    if not isinstance(value, list) or not value:
        raise declared.error(name, "expected a list of levels, or a mapping from level to what is known of it")
    return Factor(name=name, role=role, levels=_unique(declared, name, value), properties=properties)


def _unique(fields: Fields, name: str, levels: list) -> tuple[Level, ...]:
    seen: set[str] = set()
    for index, level in enumerate(levels):
        if level is None or not isinstance(level, (str, int, float, bool)):
            raise fields.error(f"{name}[{index}]", "is not a level; use text, a number, true or false (quote 'none')")
        if str(level) in seen:
            raise fields.error(f"{name}[{index}]", f"the level {level!r} stands twice")
        seen.add(str(level))
    return tuple(levels)


def _partials(fields: Fields, key: str, factors: Mapping[str, Factor]) -> tuple[Mapping[str, Any], ...]:
    blocks = fields.take_list(key, dict, [])
    return tuple(_partial(fields, f"{key}[{i}]", block, factors) for i, block in enumerate(blocks))


def _partial(fields: Fields, key: str, block: Mapping, factors: Mapping[str, Factor]) -> Mapping[str, Any]:
    """Return ``{factor: (levels…)}`` of one block of ``include``, ``exclude``, ``results_only`` or ``baseline``."""
    result = {}
    for name, wanted in block.items():
        if name not in factors:
            raise fields.error(f"{key}.{name}", f"is not a factor{nearest(str(name), list(factors))}")
        levels = wanted if isinstance(wanted, list) else [wanted]
        known = factors[name].levels
        for level in levels:
            if not any(level == k and type(level) is type(k) for k in known):
                raise fields.error(f"{key}.{name}", f"has no level {level!r}{nearest_level(level, known)}")
        result[name] = tuple(levels)
    return result


def nearest_level(wrong: Any, levels: tuple[Level, ...]) -> str:
    """Return the end of a sentence that refuses ``wrong``: the level that is meant, or the known ones."""
    for level in levels:
        if str(level).lower() == str(wrong).lower():
            return f"; the declared level is {level!r}, which is {_KIND_NAMES.get(type(level), 'other')}"
    return nearest(str(wrong), [str(level) for level in levels])


def _baseline(fields: Fields, factors: Mapping[str, Factor]) -> Mapping[str, Any] | None:
    block = fields.take("baseline", dict, None)
    return None if block is None else _partial(fields, "baseline", block, factors)


def _benchmarks(fields: Fields) -> Mapping[str, Mapping[str, MetricRule]]:
    declared = fields.child("benchmarks", {})
    result: dict[str, dict[str, MetricRule]] = {}
    for benchmark in list(fields.raw("benchmarks") or {}):
        metrics = declared.child(benchmark)
        result[benchmark] = {name: _metric_rule(metrics.child(name)) for name in declared.raw(benchmark)}
    return result


def _metric_rule(fields: Fields) -> MetricRule:
    bounds = fields.take_list("range", (int, float), [])
    if bounds and (len(bounds) != 2 or bounds[0] >= bounds[1]):
        raise fields.error("range", f"is {bounds}; expected [low, high] with low < high")
    chance = fields.take("chance", (int, float), None)
    if chance is not None and (chance <= 0 or (bounds and not bounds[0] < chance < bounds[1])):
        inside = f"inside {bounds}" if bounds else "above 0"
        raise fields.error("chance", f"is {chance}; expected the score of a random answer, {inside}")
    rule = MetricRule(
        low=float(bounds[0]) if bounds else None,
        high=float(bounds[1]) if bounds else None,
        chance=None if chance is None else float(chance),
        higher_is_better=fields.take("higher_is_better", bool, True),
        unit=fields.take("unit", str, None),
        hub=None if fields.take("hub", dict, None) is None else _hub_benchmark(fields.child("hub")),
    )
    fields.done()
    return rule


def _hub_benchmark(fields: Fields) -> HubBenchmark:
    benchmark = HubBenchmark(
        dataset=fields.take("dataset", str),
        task_id=fields.take("task_id", str),
        revision=fields.take("revision", str, None),
    )
    fields.done()
    return benchmark


def _allowances(fields: Fields) -> tuple[Mapping[str, Any], ...]:
    result = []
    for child in fields.children("allow", []):
        entry = {"code": child.take("code", str), "where": child.take("where", str, None)}
        result.append(entry | {"reason": child.take("reason", str)})
        child.done()
    return tuple(result)
