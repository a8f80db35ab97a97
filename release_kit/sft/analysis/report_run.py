"""``sft analyse`` as one function: collect, analyse, draw, write, and nothing of that when nothing has changed.

Owns the question whether an analysis is still that of today: a digest over the results, the other tables, samples of
evaluations, the study and the code of this room. It lies in the state folder, which is never published.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.analysis_summary import AnalysisSummary, read_summary, results_digest
from release_kit.core.cell import CELLS_FOLDER
from release_kit.core.collect import collect_results
from release_kit.core.errors import RecordError, StudyError
from release_kit.core.files import STATE_FOLDER, exclusive, write_atomic
from release_kit.core.hashing import digest_bytes
from release_kit.core.results import RESULTS_FILE, Result, read_results, write_results
from release_kit.core.study import STUDY_FILE, Study

KEY_FILE = f"{STATE_FOLDER}/analysis.json"
TABLES = ("tables/dataset_properties.parquet", "tables/layer_changes.parquet")


@dataclass(frozen=True, kw_only=True)
class AnalysisRun:
    """What one call did."""

    summary: AnalysisSummary
    files: tuple[str, ...]
    """Every file of the analysis, relative to where it lies."""
    changed: tuple[str, ...]
    """Those that got new bytes; empty when nothing had changed."""
    reused: bool
    """Whether nothing was computed, because nothing that it rests on had changed."""


def run_analysis(
    study: Study, *, out: Path | None = None, on_step: Callable[[str], object] | None = None
) -> AnalysisRun:
    """Bring ``analysis/`` of a study up to date.

    Args:
        study: a study with results in its table, its sources or its cells.
        out: where ``analysis/`` shall lie instead of in the study; the study is then not written to.
        on_step: told the name of each part as it begins.

    Raises:
        StudyError: no results, results that cannot be read, or nothing says which cells are the bases.
        ReleaseKitError: a table that cannot be read, a full disk, another run at the same time.
    """
    folder = study.folder if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, "analysis"):
        rows = _results(study, keep=out is None)
        results_sha256 = results_digest(rows)
        key = _key(study, results_sha256)
        known = _known(folder, key)
        if known is not None:
            return known
        from release_kit.sft.analysis.claims import analyse_table
        from release_kit.sft.analysis.report import write_report

        analysis = analyse_table(study, on_step)
        if on_step:
            on_step("figures and report")
        written = write_report(folder, analysis, results_sha256=results_sha256)
        digests = {path: digest_bytes((folder / path).read_bytes()).sha256 for path in written.files}
        write_atomic(folder / KEY_FILE, canonical.document_bytes({"key": key, "files": digests}))
        return AnalysisRun(summary=written.summary, files=written.files, changed=written.changed, reused=False)


def _results(study: Study, *, keep: bool) -> list[Result]:
    """Return all results, collected anew; without any source, those of the table that lies there."""
    collected = collect_results(study)
    if collected.problems:
        shown = "; ".join(str(problem) for problem in collected.problems[:5])
        step = f"run: release-kit check {study.folder}"
        what = f"{len(collected.problems)} problems in the results: {shown}"
        raise StudyError(what, where=str(study.folder), next_step=step)
    table = study.folder / RESULTS_FILE
    if not collected.rows and not study.results and table.is_file():
        return read_results(table)
    if keep and collected.rows:
        write_results(table, collected.rows)
    return collected.rows


def _key(study: Study, results_sha256: str) -> str:
    """Return the digest of everything that an analysis rests on."""
    parts = {
        "results": results_sha256,
        "study": digest_bytes((study.folder / STUDY_FILE).read_bytes()).sha256,
        "tables": {path: _digest_of(study.folder / path) for path in TABLES},
        "samples": hashlib.sha256("\n".join(_samples(study.folder)).encode()).hexdigest(),
        "code": {path.name: _digest_of(path) for path in sorted(Path(__file__).parent.glob("*.py"))},
    }
    return canonical.digest(parts)


def _digest_of(path: Path) -> str | None:
    return digest_bytes(path.read_bytes()).sha256 if path.is_file() else None


def _samples(folder: Path) -> Iterator[str]:
    """Yield path, size and time of every file of samples: reading thousands of them would take longer than a look."""
    for path in sorted((folder / CELLS_FOLDER).glob("*/eval/*.parquet")):
        stat = path.stat()
        yield f"{path.relative_to(folder).as_posix()} {stat.st_size} {stat.st_mtime_ns}"


def _known(folder: Path, key: str) -> AnalysisRun | None:
    """Return the analysis that lies there, when it is that of ``key`` and every file is as it was written."""
    path = folder / KEY_FILE
    try:
        state = canonical.read_json(path)
        summary = read_summary(folder)
    except RecordError:
        return None
    if summary is None or not isinstance(state, dict) or state.get("key") != key:
        return None
    files = state.get("files", {})
    if any(_digest_of(folder / name) != sha256 for name, sha256 in files.items()):
        return None
    return AnalysisRun(summary=summary, files=tuple(sorted(files)), changed=(), reused=True)
