"""What may identify a person, as findings; the search itself is ``sidecars/leaks.py``, which fails closed.

The recipe that a dataset of ours carries says which keys the study decided to keep. That decision is respected and
shown: whoever downloads the dataset judges it as its authors did.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.sidecars.leaks import find_leaks
from release_kit.bids.sidecars.privacy import scrub_reasons
from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import Finding
from release_kit.bids.validate.survey import Survey
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import STATE_FOLDER

RECIPE = "code/release_kit/recipe.yaml"
_UNSEEN = {"opaque", "unreadable", "absent"}
_ELSEWHERE = {"link"}
"""Links are judged with the files."""


def decided_privacy(survey: Survey, privacy: Privacy | None) -> Privacy:
    """Return the study's decisions: those given, else those of the recipe in the dataset, else the built-in list."""
    if privacy is not None:
        return privacy
    declared = _declared(survey)
    keys = {name: _texts(declared.get(name)) for name in ("keep", "scrub")}
    own = Privacy(keep=keys["keep"], scrub=keys["scrub"])
    try:
        scrub_reasons(own)
    except ReleaseKitError:
        return Privacy()
    return own


def check_identity(survey: Survey, words: Iterable[str], privacy: Privacy) -> Iterator[Finding]:
    """Yield everything in the dataset that may identify a person, and every file that could not be searched.

    Args:
        survey: the dataset; content that is not on this machine is passed over (``content.py`` counts it).
        words: what must appear nowhere.
        privacy: the study's decisions.
    """
    if privacy.keep:
        yield finding("identity-kept", RECIPE if RECIPE in survey.by_path else ".", f"kept: {', '.join(privacy.keep)}")
    try:
        leaks = find_leaks(survey.folder, words, privacy, content=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: pathlib's word for links that lead to each other
        yield finding("identity-not-checked", ".", f"the search ended early: {error}")
        return
    for leak in leaks:
        if leak.code in _ELSEWHERE or _is_state(survey, leak.path):
            continue
        code = "identity-not-checked" if leak.code in _UNSEEN else "identity-leak"
        made = finding(code, leak.path, leak.what, severity=leak.severity)
        yield replace(made, sub_code=leak.code)


def _is_state(survey: Survey, path: str) -> bool:
    """Whether a file is what release_kit keeps in a download (quarantine, set-aside): no part of the dataset, and
    neither saved nor published."""
    tops = ("", *(f"{part.path}/" for part in survey.parts if part.path != "."))
    return any(path.startswith(f"{top}{STATE_FOLDER}/") for top in tops)


def _declared(survey: Survey) -> dict[str, Any]:
    value = survey.yaml_of(RECIPE).get("privacy")
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
