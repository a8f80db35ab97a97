"""Reads ``encoding.yaml`` into an ``Analysis``; everything that is wrong is said at once, with its line.

What keys say of one another is judged here; whether models, recordings and levels exist is the pipeline's check.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.grammar.kinds import Record
from release_kit.core.grammar.problem import Problem
from release_kit.core.grammar.values import Findings, read_record
from release_kit.core.grammar.yaml_text import is_broken, places_of, refuse_swelling
from release_kit.core.records import nearest
from release_kit.core.wording import counted
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.spec import grammar
from release_kit.encoding.spec.model import (
    LEAST_RESAMPLES,
    SCHEMA_VERSION,
    SETTINGS,
    Analysis,
    BandUse,
    CleanUse,
    Comparison,
    DatasetUse,
    DelayUse,
    FeatureUse,
    FlatmapUse,
    RidgeUse,
    SampleUse,
    StatisticsUse,
)

ANALYSIS_FILE = "encoding.yaml"
_NEEDS_MODEL = ("causal", "encoder", "static", "vision", "vision-language", "audio")
_NEEDS_MEDIA = ("vision", "vision-language", "audio")
_NO_LEVEL = ("vision", "audio")


class AnalysisFileError(AnalysisError):
    """Everything that is wrong with an ``encoding.yaml``, at once."""

    def __init__(self, problems: tuple[Problem, ...], *, where: str):
        self.problems = problems
        if len(problems) == 1:
            super().__init__(problems[0].what, where=problems[0].where, next_step=problems[0].next_step or None)
            return
        lines = [f"  {problem.sentence()}" for problem in problems]
        super().__init__("\n".join([counted(len(problems), "problem"), *lines]), where=where)

    def to_dict(self) -> dict:
        """Return the parts for ``--json`` with every problem as a record."""
        return {**super().to_dict(), "problems": [problem.to_dict() for problem in self.problems]}


def read_analysis(path: Path) -> Analysis:
    """Return the analysis in ``path`` (the file, or the folder of an ``encoding.yaml``).

    Raises:
        AnalysisError: there is no such file, or everything that is wrong with it.
        RecordError: it is no YAML.
    """
    file = path / ANALYSIS_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        step = "name an encoding.yaml; its keys stand in docs/formats/encoding.md"
        raise AnalysisError(f"no analysis can be read here ({reason})", where=str(file), next_step=step) from error
    return parse_analysis(text, file=file)


def parse_analysis(text: str, *, file: Path) -> Analysis:
    """Return the analysis that a text describes; see ``read_analysis``."""
    from release_kit.core.strict_yaml import parse_yaml

    where = str(file)
    refuse_swelling(text, where)
    loaded = parse_yaml(text, where)
    found = Findings()
    version = loaded.get("schema_version") if isinstance(loaded, dict) else None
    if version not in (None, SCHEMA_VERSION):
        step = f"this release_kit reads {SCHEMA_VERSION}; update release_kit"
        found.refuse("schema_version", f"is {version!r}", step)
    values = read_record(grammar.ANALYSIS, _with_sections(loaded), "", found)
    if isinstance(values, dict) and not is_broken(values):
        _check(values, found)
    if found.problems or found.unfilled or not isinstance(values, dict):
        problems = found.to_problems(places_of(text, where), unfilled=True)
        raise AnalysisFileError(tuple(problems), where=where)
    return _build(values, file)


def _with_sections(loaded: Any) -> Any:
    """Give every section that is left out its empty mapping, so that its keys get their defaults."""
    if not isinstance(loaded, dict):
        return loaded
    sections = {
        name for name, key in grammar.ANALYSIS.keys.items() if isinstance(key.kind, Record) and not key.required
    }
    filled = {**{name: {} for name in sections if loaded.get(name) is None}, **loaded}
    filled |= {name: {} for name in sections if filled[name] is None}
    if isinstance(filled["ridge"], dict) and filled["ridge"].get("alphas") is None:
        filled["ridge"] = {**filled["ridge"], "alphas": {}}
    return filled


def _check(values: Mapping[str, Any], found: Findings) -> None:
    features = values["features"]
    for name, feature in features.items():
        _check_feature(f"features.{name}", feature, found)
    for name, band in values["bands"].items():
        for place, feature in enumerate(band["features"]):
            _check_known(f"bands.{name}.features[{place}]", feature, features, found)
        if len(set(band["features"])) != len(band["features"]):
            found.refuse(f"bands.{name}.features", "names a feature twice", "a band stands once in a model")
        if band["unions"] == "all" and len(band["features"]) > 8:
            step = "take unions: unique, or fewer bands"
            found.refuse(f"bands.{name}.unions", f"would be {2 ** len(band['features']) - 1} models", step)
    for place, comparison in enumerate(values["compare"]):
        for side in ("a", "b"):
            _check_known(f"compare[{place}].{side}", comparison[side], features, found)
        if comparison["a"] == comparison["b"]:
            found.refuse(f"compare[{place}].b", "is the feature itself", "name another one")
    samples = values["samples"]
    for test, key in (("runs", "test_runs"), ("titles", "test_titles")):
        if (samples["test"] == test) != bool(samples[key]):
            found.refuse(
                f"samples.{key}", f"belongs to `test: {test}`", f"write both or neither; test is {samples['test']}"
            )
    for title, n in samples["test_last"].items():
        if not isinstance(n, int) or n < 1:
            found.refuse(f"samples.test_last.{title}", f"is {n!r}, expected a whole number from 1")
    alphas = values["ridge"]["alphas"]
    if alphas["n"] > 1 and not -12 <= alphas["from"] < alphas["to"] <= 15:
        found.refuse(
            "ridge.alphas", f"go from 10^{alphas['from']:g} to 10^{alphas['to']:g}", "they grow, from -12 to 15"
        )
    if values["statistics"]["level"] >= 1:
        found.refuse("statistics.level", "is 1 or more", "take 0.05")
    if 0 < values["statistics"]["bootstrap"] < LEAST_RESAMPLES:
        step = f"take 0 for no intervals, or at least {LEAST_RESAMPLES} (1000)"
        found.refuse("statistics.bootstrap", f"is {values['statistics']['bootstrap']}, no interval comes of it", step)
    for label in values["flatmaps"]:
        if values["subjects"] and label not in values["subjects"]:
            hint = nearest(label, list(values["subjects"])).removeprefix("; ")
            found.refuse(f"flatmaps.{label}", "is no subject of this analysis", hint)
    for label in values["subjects"]:
        if not re.fullmatch(r"[A-Za-z0-9]+", label):
            found.refuse("subjects", f"names {label!r}", "write labels without sub-: letters and digits")


def _check_feature(key: str, feature: Mapping[str, Any], found: Findings) -> None:
    kind = feature["kind"]
    if (kind in _NEEDS_MODEL) != (feature["model"] is not None):
        step = "name its folder or file" if kind in _NEEDS_MODEL else "a bag of words has none: leave it out"
        found.refuse(f"{key}.model", "is missing" if kind in _NEEDS_MODEL else f"is of no use to {kind}", step)
    if (kind in _NEEDS_MEDIA) != (feature["media"] is not None):
        step = "name the folder of frames or sounds" if kind in _NEEDS_MEDIA else "leave it out"
        found.refuse(f"{key}.media", "is missing" if kind in _NEEDS_MEDIA else f"is of no use to {kind}", step)
    if kind in _NO_LEVEL and feature["level"] is not None:
        found.refuse(f"{key}.level", f"is of no use to {kind}", "leave it out: no text is read")
    if kind not in _NO_LEVEL and feature["level"] is None:
        found.refuse(f"{key}.level", "is missing", "name the level of annotations that is read")
    if kind in ("static", "bag-of-words") and (feature["layers"] or feature["context_s"]):
        found.refuse(key, f"has layers or a context, but {kind} knows neither", "leave them out")
    for name, kinds in SETTINGS.items():
        if kind not in kinds and feature[name] != grammar.FEATURE[name].default:
            found.refuse(f"{key}.{name}", f"is of no use to {kind}", f"leave it out: it is for {', '.join(kinds)}")


def _check_known(key: str, name: str, features: Mapping[str, Any], found: Findings) -> None:
    if name not in features:
        found.refuse(key, f"names no feature: {name!r}", nearest(name, list(features)).removeprefix("; "))
    elif tuple(features[name]["annotators"]) == ("each",):
        found.refuse(key, f"names {name!r}, which is made of each annotator", "name a feature of one, or of their mean")


def _build(values: Mapping[str, Any], file: Path) -> Analysis:
    folder = file.parent

    def path(value: str | None) -> Path | None:
        return None if value is None else folder / value

    features = {
        name: FeatureUse(**{**value, "name": name, "model": path(value["model"]), "media": path(value["media"])})
        for name, value in values["features"].items()
    }
    ridge = dict(values["ridge"])
    alphas = ridge.pop("alphas")
    step = (alphas["to"] - alphas["from"]) / max(alphas["n"] - 1, 1)
    powers = [alphas["from"] + k * step for k in range(alphas["n"])]
    return Analysis(
        file=file,
        name=values["name"],
        description=values["description"],
        dataset=DatasetUse(**{**values["dataset"], "path": folder / values["dataset"]["path"]}),
        subjects=values["subjects"],
        samples=SampleUse(**values["samples"]),
        clean=CleanUse(**values["clean"]),
        delays=DelayUse(**values["delays"]),
        features=features,
        ridge=RidgeUse(alphas=tuple(10.0**power for power in powers), **ridge),
        bands={name: BandUse(name=name, **value) for name, value in values["bands"].items()},
        compare=tuple(Comparison(**value) for value in values["compare"]),
        statistics=StatisticsUse(**values["statistics"]),
        flatmaps={subject: FlatmapUse(**value) for subject, value in values["flatmaps"].items()},
        regions=path(values["regions"]),
        mode=values["mode"],
        seed=values["seed"],
    )
