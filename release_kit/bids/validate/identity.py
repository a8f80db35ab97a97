"""What may identify a person, as findings; the search itself is ``sidecars/leaks.py``, which fails closed."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.sidecars.leaks import find_leaks
from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import Finding

_UNSEEN = {"opaque", "unreadable", "absent"}
_ELSEWHERE = {"link"}
"""Links are judged with the files."""


def check_identity(folder: Path, words: Iterable[str], privacy: Privacy | None) -> Iterator[Finding]:
    """Yield everything in the dataset that may identify a person, and every file that could not be searched.

    Args:
        folder: the dataset; content that is not on this machine is passed over (``content.py`` counts it).
        words: what must appear nowhere.
        privacy: the study's decisions; the built-in list alone when None.
    """
    try:
        leaks = find_leaks(folder, words, privacy, content=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: pathlib's word for links that lead to each other
        yield finding("identity-not-checked", ".", f"the search ended early: {error}")
        return
    for leak in leaks:
        if leak.code in _ELSEWHERE:
            continue
        code = "identity-not-checked" if leak.code in _UNSEEN else "identity-leak"
        made = finding(code, leak.path, leak.what, severity=leak.severity)
        yield replace(made, sub_code=leak.code)
