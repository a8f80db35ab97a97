"""From the folder of a finished analysis to ``report/``: the table of regions, pictures, and one page.

The page needs nothing else and is written last. The same analysis gives the same bytes; nothing but the folder is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.core.hashing import digest_bytes
from release_kit.core.page import page
from release_kit.core.pictures import Picture
from release_kit.encoding.maps.flatmap import flats_of
from release_kit.encoding.maps.pictures import draw_maps
from release_kit.encoding.maps.regions import region_table, write_regions
from release_kit.encoding.maps.results import DERIVATIVE
from release_kit.encoding.pipeline.intact import read_intact
from release_kit.encoding.pipeline.tables import COLUMNS
from release_kit.encoding.report import sections
from release_kit.encoding.report.figures import draw_tables
from release_kit.encoding.report.lacking import lacking_of
from release_kit.encoding.report.tables import REGIONS_FILE
from release_kit.encoding.report.verdicts import Verdict, make_verdicts

REPORT_FILE, FIGURES = "report/report.html", "report/figures"


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """What was written.

    Attributes:
        path: of the page.
        verdicts: what stands on its top.
        pictures: inside it, and below ``report/figures/``.
    """

    path: Path
    verdicts: tuple[Verdict, ...]
    pictures: tuple[Picture, ...]


def write_report(folder: Path) -> WrittenReport:
    """Write ``report/`` of a finished analysis; maps are drawn where ``write_maps`` has written them.

    Args:
        folder: of the analysis.

    Raises:
        AnalysisError: the analysis was not finished, or a file of it is not what was recorded.
        ReleaseKitError: the disk is full or the folder cannot be written; there is no page then.
    """
    finished = read_intact(folder)
    (folder / REPORT_FILE).unlink(missing_ok=True)
    mode = finished.modes[0]
    tables = {name: finished.rows(name) for name in COLUMNS}
    regions = region_table(tables["encoding_scores"])
    write_regions(folder / REGIONS_FILE, regions)
    pictures = [*draw_tables(tables, mode), *draw_maps(folder / DERIVATIVE, mode, flats_of(finished.record))]
    _write_pictures(folder / FIGURES, pictures)
    digests = {**finished.record["files"]}
    digests[REGIONS_FILE] = digest_bytes((folder / REGIONS_FILE).read_bytes()).sha256
    lacking = lacking_of(finished, mode)
    verdicts = make_verdicts(tables, mode, finished.level, lacking)
    bodies = {
        "verdicts": sections.verdicts(verdicts, digests, lacking),
        **{name: sections.body(name, finished, tables, regions, pictures, digests) for name in sections.HEADINGS},
        "sources": sections.sources(finished, digests),
    }
    present = {name: text for name, text in bodies.items() if text}
    text = page(
        f"{finished.record['name']}: encoding models", [sections.head(finished, list(present)), *present.values()]
    )
    write_atomic(folder / REPORT_FILE, text.encode("utf-8"))
    return WrittenReport(path=folder / REPORT_FILE, verdicts=tuple(verdicts), pictures=tuple(pictures))


def _write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    documents = {f"{each.name}.png": each.png for each in pictures}
    documents |= {f"{each.name}.svg": each.svg for each in pictures if each.svg}
    for name, data in documents.items():
        write_atomic(folder / name, data, durable=False)
    for path in sorted(folder.glob("*")):
        if path.suffix in (".svg", ".png") and path.name not in documents:
            path.unlink()
