"""What a derivative of maps takes along from its analysis: the tidy tables, and what they are made of.

They lie under ``sourcedata/``, where BIDS lets anything lie, so that one dataset has maps and numbers.
"""

from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.encoding.pipeline.finished import FINISHED_FILE
from release_kit.encoding.pipeline.intact import read_intact
from release_kit.encoding.pipeline.tables import TABLES

FOLDER = "sourcedata"


def add_tables(folder: Path, derivative: Path) -> list[Path]:
    """Copy the tables and ``analysis.json`` of a finished analysis into a derivative; returns the copies.

    Tables of an older version of the analysis are removed there. No path of this machine is in any of them.

    Args:
        folder: of the analysis.
        derivative: the dataset of its maps.

    Raises:
        AnalysisError: the analysis was not finished, or a file of it is not what was recorded.
    """
    names = [name for name in read_intact(folder).record["files"] if name.startswith(f"{TABLES}/")]
    target = derivative / FOLDER
    for path in sorted((target / TABLES).glob("*.parquet")):
        if f"{TABLES}/{path.name}" not in names:
            path.unlink()
    for name in (*names, FINISHED_FILE):
        write_atomic(target / name, (folder / name).read_bytes())
    return [target / name for name in (*names, FINISHED_FILE)]
