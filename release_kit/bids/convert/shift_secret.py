"""The secret of the date shift must stay the one by which published dates were shifted: lost, it is never replaced.

Owns the question whether dates were shifted before, and by which secret; shifting is ``sidecars/privacy.py``.
"""

import csv
import hashlib
from pathlib import Path

from release_kit.bids.convert.state import State
from release_kit.bids.recipe.model import Recipe
from release_kit.core.errors import StudyError
from release_kit.core.wording import counted

MARK = "shift-key"
_LAST_YEAR = 1925
"""Dates before are shifted ones."""
_TABLES = ("sub-*/*_scans.tsv", "sub-*/ses-*/*_scans.tsv")


def check_secret(recipe: Recipe, out: Path, state: State) -> None:
    """Refuse to go on with another secret than the one that dates were shifted by, or with none.

    Args:
        recipe: the study; its ``privacy.shift_key`` is where the secret is expected.
        out: the dataset, whose ``scans.tsv`` may hold shifted dates.
        state: what earlier conversions did.

    Raises:
        StudyError: the secret is not there, or is another one, and dates were shifted before.
    """
    named = recipe.privacy.shift_key
    if named is None:
        # The recipe inside a dataset never names the secret; the lab's may have given up times on purpose.
        if recipe.folder.resolve().is_relative_to(out.resolve()) and (found := shifted_tables(out)):
            what = f"{_hold(found)} dates that were shifted, and the secret of the date shift is not given"
            step = "name its file with --shift-key or RELEASE_KIT_SHIFT_KEY; without it the dates would be lost"
            raise StudyError(what, where=str(out), next_step=step)
        return
    path, known = recipe.folder / named, state.marks.get(MARK)
    if (identity := secret_identity(path)) is None:
        found = shifted_tables(out)
        if not found and known is None:
            return
        before = f"{_hold(found)} dates that were shifted by it" if found else "earlier conversions shifted dates by it"
        what = f"the secret of the date shift is not there, and {before}: a new one would move every date differently"
        step = (
            "restore the file from a backup, or name where it is (`privacy.shift_key`, --shift-key); if it is lost for "
            "good, move the dataset and `.release_kit/bids` beside the recipe away and convert into an empty folder"
        )
        raise StudyError(what, where=str(path), next_step=step)
    if known is not None and identity != known:
        what = "the secret of the date shift is another one than earlier conversions shifted dates by"
        step = (
            "restore the earlier file; to shift anew on purpose, move the dataset and `.release_kit/bids` beside the "
            "recipe away and convert into an empty folder"
        )
        raise StudyError(what, where=str(path), next_step=step)


def remember_secret(recipe: Recipe, out: Path, state: State) -> None:
    """Note by which secret the dates of ``out`` were shifted, if there are any."""
    if recipe.privacy.shift_key is None:
        return
    identity = secret_identity(recipe.folder / recipe.privacy.shift_key)
    if identity is not None and state.marks.get(MARK) != identity and shifted_tables(out):
        state.mark(MARK, identity)


def secret_identity(path: Path) -> str | None:
    """Return what tells one secret from another without telling the secret, None where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def shifted_tables(out: Path) -> list[str]:
    """Return the ``scans.tsv`` with shifted dates, sorted; one that cannot be read counts, since it may hold some."""
    found = sorted(path for pattern in _TABLES for path in out.glob(pattern))
    return [path.relative_to(out).as_posix() for path in found if _is_shifted(path)]


def _is_shifted(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            times = [row.get("acq_time") for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return True
    return any(time and time[:4].isdecimal() and int(time[:4]) < _LAST_YEAR for time in times)


def _hold(tables: list[str]) -> str:
    verb = "holds" if len(tables) == 1 else "hold"
    return f"{counted(len(tables), 'table')} of the dataset (such as {tables[0]}) {verb}"
