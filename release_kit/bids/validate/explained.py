"""Warnings that the dataset itself answers, each with the answer.

Only what a file of the dataset says explains a warning: its citation file, its sidecar report, its layout, and what its
recipe allows with a reason (also one that is named). Errors are never explained away, and what is explained stays in
the report.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.sidecars.privacy import scrub_reasons
from release_kit.bids.validate.finding import REFERENCE, WARNING, Finding
from release_kit.bids.validate.identity import RECIPE
from release_kit.bids.validate.survey import DESCRIPTION, Part, Survey, parse_name

CITATION = "CITATION.cff"
SIDECAR_REPORT = "code/release_kit/sidecar_report.json"
_CITED = {"Authors": "authors", "License": "license", "ReferencesAndLinks": "references"}
"""Field of dataset_description.json → where a citation file holds it; the specification wants it in one of the two."""


def read_citation(survey: Survey) -> Mapping[str, Any]:
    """Return the fields of ``CITATION.cff``; empty where there is none that can be read."""
    return survey.yaml_of(CITATION)


def cited(citation: Mapping[str, Any], field: str) -> Any:
    """Return what a citation file says for a field of ``dataset_description.json``; None when nothing."""
    return citation.get(_CITED[field]) or None


_SHAPE = ("matrix", "voxel size", "orientation")
_ALLOWED = {"geometry": _SHAPE, "anatomy-differs": _SHAPE, "tr": ("TR",)}
"""Code of the recipe's check → what of ``header-differs`` it is about."""
_ENTITY = re.compile(r"(?<![A-Za-z0-9])(sub|ses|task|run)-([A-Za-z0-9]+)")


def with_explanations(
    survey: Survey, privacy: Privacy, findings: Iterable[Finding], allow: Iterable[Mapping[str, Any]] = ()
) -> list[Finding]:
    """Return the findings, each warning with its explanation where there is one.

    Args:
        survey: the dataset.
        privacy: the study's decisions on identifying keys.
        findings: what was found.
        allow: entries of ``allow`` of a recipe that was named; those of the recipe in the dataset count by themselves.
    """
    allowed = [*allow, *_allowed_inside(survey)]
    citation = read_citation(survey)
    reasons = scrub_reasons(privacy)
    known = _Known(survey, citation, reasons)
    explained = []
    for one in findings:
        if one.source == REFERENCE and one.severity == WARNING:
            one = replace(one, explained=known.explain(one))
        elif one.code == "header-differs" and one.severity == WARNING:
            one = replace(one, explained=_reason(one, allowed))
        explained.append(one)
    return explained


def _allowed_inside(survey: Survey) -> list[Mapping[str, Any]]:
    entries = survey.yaml_of(RECIPE).get("allow")
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _reason(one: Finding, allowed: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the reason of the first entry that speaks of this finding; one with a place must name its labels only."""
    own = _labels(one.path)
    for entry in allowed:
        about = _ALLOWED.get(str(entry.get("code")), ())
        where = str(entry.get("where") or "")
        fits = not where or (_labels(where) and _labels(where) <= own)
        if fits and entry.get("reason") and any(one.what.startswith(f"{name} is ") for name in about):
            return f"the recipe allows it: {entry['reason']}"
    return None


def _labels(text: str) -> set[tuple[str, str]]:
    return {(name, label.lstrip("0") if name == "run" else label) for name, label in _ENTITY.findall(text)}


class _Known:
    """What the dataset says that can answer a warning."""

    def __init__(self, survey: Survey, citation: Mapping[str, Any], reasons: Mapping[str, str]):
        self._survey, self._citation, self._reasons = survey, citation, reasons
        self._parts = {part.path: part for part in survey.parts}
        self._reported = _reported_keys(survey)
        self._has_hed = _uses_hed(survey)
        self._is_ours = _made_by_us(survey)
        self._decided = self._is_ours or RECIPE in survey.by_path

    def explain(self, one: Finding) -> str | None:
        """Return why a warning is as it should be; None when nothing says so."""
        key = one.sub_code or ""
        if one.code == "SUBJECT_FOLDERS" and one.dataset != "." and not _has_subjects(self._parts[one.dataset]):
            return "this derivative holds only files that apply to all subjects"
        if one.code in ("JSON_KEY_RECOMMENDED", "TOO_FEW_AUTHORS", "NO_AUTHORS"):
            return self._of_description("Authors" if one.code != "JSON_KEY_RECOMMENDED" else key, one.dataset)
        if one.code == "SIDECAR_KEY_RECOMMENDED":
            return self._of_sidecar(one, key)
        return None

    def _of_description(self, key: str, dataset: str) -> str | None:
        if key in _CITED and dataset == "." and cited(self._citation, key):
            return f"{CITATION} holds it, and the specification wants it in one place"
        if key == "HEDVersion" and not self._has_hed:
            return "no table of the dataset uses HED tags"
        if key == "SourceDatasets" and dataset == "." and self._is_ours:
            return "it was made from recordings, which are no dataset that could be named"
        return None

    def _of_sidecar(self, one: Finding, key: str) -> str | None:
        if self._decided and key.lower() in self._reasons:
            return f"left out so that nothing identifies anybody ({self._reasons[key.lower()]})"
        suffix = parse_name(one.path)[1]
        if (suffix, key) in self._reported:
            return f"{SIDECAR_REPORT} says that neither header nor study know it"
        return None


def _made_by_us(survey: Survey) -> bool:
    description = survey.json_of(DESCRIPTION)
    makers = description.get("GeneratedBy") if isinstance(description, dict) else None
    names = [maker.get("Name") for maker in makers if isinstance(maker, dict)] if isinstance(makers, list) else []
    return "release_kit" in names


def _has_subjects(part: Part) -> bool:
    return any(part.inside(entry.path).startswith("sub-") for entry in part.entries)


def _uses_hed(survey: Survey) -> bool:
    """Whether any events table has a HED column or its sidecar HED tags."""
    for entry in survey.entries:
        if entry.suffix in ("events", "scans", "participants") and entry.extension == ".json":
            value = survey.json_of(entry.path)
            columns = value.values() if isinstance(value, dict) else ()
            if any(isinstance(column, dict) and "HED" in column for column in columns):
                return True
        is_table = entry.suffix == "events" and entry.extension == ".tsv" and entry.readable
        if is_table and "HED" in survey.first_line(entry.path).rstrip().split("\t"):
            return True
    return False


def _reported_keys(survey: Survey) -> set[tuple[str, str]]:
    """Return (suffix, key) of every key that the dataset's sidecar report declares as absent or removed."""
    value = survey.json_of(SIDECAR_REPORT)
    found: set[tuple[str, str]] = set()
    suffixes = value.get("suffixes") if isinstance(value, dict) else None
    for suffix in suffixes if isinstance(suffixes, list) else ():
        for key in suffix.get("keys", ()) if isinstance(suffix, dict) else ():
            if isinstance(key, dict) and (key.get("n_absent") or key.get("n_scrubbed")):
                found.add((str(suffix.get("suffix")), str(key.get("key"))))
    return found
