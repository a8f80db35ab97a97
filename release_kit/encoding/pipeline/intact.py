"""Whether the files of a finished analysis are what was recorded when they were made, before anything is made of them.

Owns what is held against which digest: tables, masks, chosen fits with their tests, partitions. Predictions, which are
large and of which neither maps nor pages are made, are held against their digests by ``encoding run``.
"""

from pathlib import Path

from release_kit.core.canonical import read_json
from release_kit.core.errors import RecordError
from release_kit.core.hashing import hash_file
from release_kit.core.wording import counted
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.pipeline.finished import FINISHED_FILE, Finished, read_finished
from release_kit.encoding.pipeline.units import FIT_FILE, FITS, VOXELS_FILE
from release_kit.encoding.spec.read import ANALYSIS_FILE

MOST_NAMED = 10


def read_intact(folder: Path) -> Finished:
    """Return a finished analysis whose files are what was recorded.

    Args:
        folder: of the analysis.

    Raises:
        AnalysisError: it was never finished, or files are missing or damaged, each by its path.
    """
    finished = read_finished(folder)
    wrong = damaged_files(finished)
    if wrong:
        more = [f"and {len(wrong) - MOST_NAMED:,} more"] if len(wrong) > MOST_NAMED else []
        named = "\n  ".join([*wrong[:MOST_NAMED], *more])
        what = f"{counted(len(wrong), 'file')} not as {FINISHED_FILE} and {FIT_FILE} recorded:\n  {named}"
        step = "release-kit encoding run makes what is damaged again"
        raise AnalysisError(what, where=str(folder), next_step=step)
    return finished


def damaged_files(finished: Finished) -> list[str]:
    """Return a sentence for every file of a finished analysis that is missing or not what was recorded."""
    recorded = {name: digest for name, digest in finished.record["files"].items() if name != ANALYSIS_FILE}
    found = []
    for row in finished.record["chosen"]:
        home = f"{FITS}/{row['fit_id']}"
        listed = _listed(finished.folder / home / FIT_FILE)
        if listed is None:
            found.append(f"{home}/{FIT_FILE}: cannot be read as the record of a fit")
        elif recorded.setdefault(f"{home}/{VOXELS_FILE}", listed) != listed:
            found.append(f"{home}/{FIT_FILE}: lists another digest of {VOXELS_FILE} than {FINISHED_FILE}")
    for name, digest in recorded.items():
        path = finished.folder / name
        if not path.is_file():
            found.append(f"{name}: is missing")
        elif (now := sha256_of(path)) != digest:
            found.append(f"{name}: sha256 {now[:12]}…, recorded {digest[:12]}…")
    return sorted(set(found))


def is_file_of_run(finished: Finished) -> bool:
    """Return whether ``encoding.yaml`` is still the one that was run."""
    path = finished.folder / ANALYSIS_FILE
    recorded = finished.record["files"].get(ANALYSIS_FILE)
    return recorded is None or not path.is_file() or sha256_of(path) == recorded


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    return hash_file(path, tensors=False, git=False).sha256


def _listed(path: Path) -> str | None:
    """Return the digest of the table of voxels that ``fit.json`` lists, None where it cannot be read."""
    try:
        return read_json(path)["files"][VOXELS_FILE]
    except (RecordError, KeyError, TypeError):
        return None
