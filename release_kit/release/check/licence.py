"""Is a licence declared, is it known, and does it go with the licences of the base models.

The table says what the texts of well-known licences ask of derived models, as far as an identifier can tell. It is a
reminder, not legal advice; ``docs/checks.md`` shows it.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from release_kit.core.study import Level
from release_kit.release.cards.hub_tables import LICENSES
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import NOTE, Problem
from release_kit.release.check.views import Survey

SPDX_ALIASES = {
    "agpl-3.0-only": "agpl-3.0", "agpl-3.0-or-later": "agpl-3.0", "gpl-2.0-only": "gpl-2.0",
    "gpl-2.0-or-later": "gpl-2.0", "gpl-3.0-only": "gpl-3.0", "gpl-3.0-or-later": "gpl-3.0",
    "lgpl-2.1-only": "lgpl-2.1", "lgpl-2.1-or-later": "lgpl-2.1", "lgpl-3.0-only": "lgpl-3.0",
    "lgpl-3.0-or-later": "lgpl-3.0", "0bsd": "bsd", "llama-2": "llama2", "llama-3": "llama3",
    "odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "bsl": "bsl-1.0", "gfdl-1.3": "gfdl",
}  # fmt: skip
"""SPDX spellings → the Hub's."""

OTHER = frozenset({"other"})
_OPENRAIL = frozenset(
    {"openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m",
     "bigscience-bloom-rail-1.0"}
)  # fmt: skip
_NON_COMMERCIAL = frozenset(name for name in LICENSES if name.startswith(("cc-by-nc-2", "cc-by-nc-3", "cc-by-nc-4")))
_NC_SHARE_ALIKE = frozenset(name for name in LICENSES if name.startswith("cc-by-nc-sa-"))
_NO_DERIVATIVES = frozenset(name for name in LICENSES if "-nd-" in name)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the licence of a base model asks of a model made from it."""

    bases: frozenset[str]
    allowed: frozenset[str] | None
    """Identifiers that a derived model may carry; None: the base's own, or ``other`` with the terms attached."""
    says: str


TERMS = (
    Terms(bases=_NO_DERIVATIVES, allowed=frozenset(), says="does not allow sharing modified versions"),
    Terms(
        bases=frozenset({"llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4"}),
        allowed=None,
        says="asks that derived models are passed on with its own agreement and use policy",
    ),
    Terms(
        bases=frozenset({"gemma"}),
        allowed=None,
        says="asks that derived models are passed on under its own terms and use restrictions",
    ),
    Terms(
        bases=_OPENRAIL,
        allowed=_OPENRAIL | OTHER,
        says="asks that its use restrictions are passed on with derived models",
    ),
    Terms(
        bases=_NC_SHARE_ALIKE,
        allowed=_NC_SHARE_ALIKE | OTHER,
        says="forbids commercial use and asks for the same licence on derived works",
    ),
    Terms(
        bases=_NON_COMMERCIAL,
        allowed=_NON_COMMERCIAL | _NC_SHARE_ALIKE | OTHER | {"cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"},
        says="forbids commercial use",
    ),
    Terms(
        bases=frozenset({"cc-by-sa-3.0"}),
        allowed=frozenset({"cc-by-sa-3.0", "cc-by-sa-4.0"}) | OTHER,
        says="asks for the same licence on derived works",
    ),
    Terms(
        bases=frozenset({"cc-by-sa-4.0"}),
        allowed=frozenset({"cc-by-sa-4.0", "gpl-3.0"}) | OTHER,
        says="asks for the same licence on derived works",
    ),
    Terms(
        bases=frozenset({"gpl-3.0"}),
        allowed=frozenset({"gpl-3.0", "agpl-3.0"}) | OTHER,
        says="asks for the same licence on derived works",
    ),
    Terms(
        bases=frozenset({"gpl-2.0"}),
        allowed=frozenset({"gpl-2.0", "gpl"}) | OTHER,
        says="asks for the same licence on derived works",
    ),
    Terms(
        bases=frozenset({"agpl-3.0"}),
        allowed=frozenset({"agpl-3.0"}) | OTHER,
        says="asks for the same licence on derived works, also where they only answer over a network",
    ),
    Terms(
        bases=frozenset(
            {"fair-noncommercial-research-license", "apple-amlr", "h-research", "intel-research",
             "deepfloyd-if-license", "grok2-community"}
        ),
        allowed=None,
        says="is for limited uses and asks that its own terms are passed on",
    ),
)  # fmt: skip
"""Licences that are not listed here (apache-2.0, mit, bsd, cc-by, mpl-2.0 …) leave the choice open."""


def check_licence(survey: Survey) -> Iterator[Problem]:
    """Yield what is missing or contradictory between the study's licence and those of its base models."""
    declared = survey.study.license
    if not declared or not declared.strip():
        yield problem("licence-missing", "study.yaml: license", "no licence is declared", path="study.yaml")
    elif normalised(declared) not in LICENSES:
        close = difflib.get_close_matches(normalised(declared), sorted(LICENSES), n=1)
        near = f"; did you mean {close[0]!r}?" if close else "; use 'other' for a licence of its own"
        what = f"{declared!r} is not known{near}"
        yield problem("licence-unknown", "study.yaml: license", what, path="study.yaml")
    for level in _released_bases(survey):
        yield from _base(survey, level)


def normalised(name: str) -> str:
    """Return the Hub's identifier for a licence as people write it."""
    text = name.strip().lower()
    return SPDX_ALIASES.get(text, text)


def incompatibility(declared: str, base: str) -> str | None:
    """Return why ``declared`` does not go with the licence ``base``, or None; both as normalised identifiers."""
    for terms in TERMS:
        if base in terms.bases:
            allowed = frozenset({base}) | OTHER if terms.allowed is None else terms.allowed
            return None if declared in allowed else terms.says
    return None


def _released_bases(survey: Survey) -> list[Level]:
    """Return the base models from which released weights were made."""
    factor = survey.study.factor_with_role("base_model")
    if factor is None:
        return []
    views = [view for view in survey.cells.values() if view.weights and not view.results_only]
    used = {view.cell.levels.get(factor.name) for view in views}
    return [level for level in factor.levels if level in used]


def _base(survey: Survey, level: Level) -> Iterator[Problem]:
    factor = survey.study.factor_with_role("base_model")
    licence = factor.properties.get(level, {}).get("license")
    where = f"base model {level}"
    if not isinstance(licence, str) or not licence.strip():
        yield problem("licence-base-unknown", where, "no `license` is declared for it", path="study.yaml")
        return
    base, declared = normalised(licence), normalised(survey.study.license or "")
    if base in ("other", "unknown"):
        what = f"its licence is {licence!r}: what it asks of derived models cannot be checked"
        yield problem("licence-base-unknown", where, what, severity=NOTE, path="study.yaml")
    elif declared and (says := incompatibility(declared, base)) is not None:
        what = f"the study declares {survey.study.license}, the base declares {licence}, which {says}"
        yield problem("licence-incompatible", where, what, path="study.yaml")
