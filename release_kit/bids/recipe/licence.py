"""Which licences a recipe may name: one SPDX identifier, spelled as SPDX spells it, or terms of the lab's own.

``CITATION.cff`` takes nothing else, and the validator refuses the file otherwise. The list is that of ``packaging``.
"""

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

OWN_TERMS = "LicenseRef-"
_USUAL = {
    "cc0": "CC0-1.0",
    "cc-0": "CC0-1.0",
    "public domain": "CC0-1.0",
    "pddl": "PDDL-1.0",
    "pd": "PDDL-1.0",
    "odbl": "ODbL-1.0",
    "cc by": "CC-BY-4.0",
    "cc-by": "CC-BY-4.0",
    "cc by-sa": "CC-BY-SA-4.0",
    "cc by-nc": "CC-BY-NC-4.0",
    "cc by-nc-sa": "CC-BY-NC-SA-4.0",
}
"""How licences are often called → their identifier, for messages: what a lab meant is the lab's to say."""


def licence_problem(text: str) -> str | None:
    """Return what to do about a licence that is no single SPDX identifier; None where there is nothing to do."""
    own = "an SPDX identifier like CC0-1.0 or CC-BY-4.0, or `LicenseRef-` and a name for terms of your own"
    if text.startswith(OWN_TERMS) and " " not in text:
        return None
    folded = " ".join(text.casefold().split())
    guess = _USUAL.get(folded) or _USUAL.get(folded.removesuffix(" 4.0").removesuffix("-4.0"))
    try:
        canonical = canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return f"did you mean {guess}? It is {own}" if guess else f"write {own}"
    if " " in canonical:
        return f"write one licence: {own}"
    return None if canonical == text else f"SPDX spells it {canonical}"
