"""The main results on the page of the derivative, which its card shows in full: values with verdicts, each with the
file and the rows that it was taken from.
"""

from collections.abc import Iterator
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.core.pictures import number_text
from release_kit.encoding.maps.regions import RegionRow, region_table
from release_kit.encoding.pipeline.intact import read_intact
from release_kit.encoding.pipeline.published import FOLDER
from release_kit.encoding.pipeline.regions import TOP, TOP_SHARE
from release_kit.encoding.pipeline.tables import COLUMNS
from release_kit.encoding.report.lacking import lacking_of
from release_kit.encoding.report.verdicts import make_verdicts

README_FILE, HEADING = "README.md", "## Main results"
MOST_MODELS = 30


def add_results(folder: Path, derivative: Path) -> None:
    """Write the main results of a finished analysis at the end of its derivative's page; a second call changes nothing.

    Args:
        folder: of the analysis.
        derivative: the dataset of its maps, with the tables below ``sourcedata/``.

    Raises:
        AnalysisError: the analysis was not finished, or a file of it is not what was recorded.
    """
    finished = read_intact(folder)
    mode = finished.modes[0]
    tables = {name: finished.rows(name) for name in COLUMNS}
    verdicts = make_verdicts(tables, mode, finished.level, lacking_of(finished, mode))
    rows = [("What", "Value", "Verdict", "Source")]
    rows += list(_scores([row for row in region_table(tables["encoding_scores"]) if row.mode == mode]))
    rows += [
        (each.statement, each.value, each.verdict, _source(each.table, each.rows))
        for each in verdicts
    ]  # fmt: skip
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|---|---|---|---|")
    about = (
        f"Mode {mode}; the same verdicts as in the analysis' report. r and unique parts are means over the "
        f"{100 * TOP_SHARE:g} % of voxels that cross-validation on training data finds best, then over subjects; "
        "brackets: 95 % intervals. Rows of the source are counted from 0."
    )
    path = derivative / README_FILE
    before = path.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
    write_atomic(path, "\n".join([before, "", HEADING, "", about, "", *lines, ""]).encode("utf-8"))


def _scores(rows: list[RegionRow]) -> Iterator[tuple[str, ...]]:
    best = [row for row in rows if row.region == TOP]
    for row in best[:MOST_MODELS]:
        ends = "" if row.low is None else f" [{number_text(row.low, 3)}, {number_text(row.high, 3)}]"
        level = f", level {row.level}" if row.level else ""
        who = "" if row.annotator == "mean" else f", {row.annotator}"
        yield (f"held-out r of {row.feature} ({row.model}{level}{who})", number_text(row.r, 3) + ends, "",
               _source("encoding_scores", row.rows))  # fmt: skip


def _source(table: str, rows: tuple[int, ...]) -> str:
    return f"`{FOLDER}/tables/{table}.parquet`, {'row' if len(rows) == 1 else 'rows'} {', '.join(map(str, rows))}"
