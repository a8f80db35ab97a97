"""From the tables of a study to ``report/``: claims, pictures, one page, the browser; only ``tables/`` is read.

The page needs nothing from outside and is written last. The same tables give the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.core.hashing import hash_file
from release_kit.core.page import page
from release_kit.core.pictures import Picture
from release_kit.sae.browser.study import browser_tables
from release_kit.sae.browser.write import write_browser
from release_kit.sae.claims.curves import MEASURES, Curves, read_curves
from release_kit.sae.claims.judge import StudyClaim
from release_kit.sae.claims.read import read_tables
from release_kit.sae.claims.study import study_claims, write_claims
from release_kit.sae.report import sections
from release_kit.sae.report.figures_effects import draw_claims, draw_effects, draw_stability
from release_kit.sae.report.figures_shares import draw_quality, draw_shares
from release_kit.sae.report.kinds import kinds_section
from release_kit.sae.spec.model import SaeStudy

REPORT_FILE, FIGURES, BROWSER = "report/index.html", "report/figures", "report/browser"


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """What was written.

    Attributes:
        path: of the page.
        browser: page of the browser; None where no contexts were measured.
        claims: with their verdicts.
        pictures: inside the page, and below ``report/figures/``.
        curves: measure → size → shares of bilingual features beside their nulls.
    """

    path: Path
    browser: Path | None
    claims: tuple[StudyClaim, ...]
    pictures: tuple[Picture, ...]
    curves: Mapping[str, Mapping[str, Curves]]


def write_report(study: SaeStudy) -> WrittenReport:
    """Write claims, pictures, browser and page of a study from its tables.

    Args:
        study: whose folder holds ``tables/``.

    Raises:
        SaeError: tables are missing or are not what they should be; nothing is written then.
        ReleaseKitError: the disk is full or the folder cannot be written; there is no page then.
    """
    tables = read_tables(study)
    folder = study.folder
    claims = study_claims(tables)
    (folder / REPORT_FILE).unlink(missing_ok=True)
    written = write_claims(claims, folder)
    digests = {**tables.digests, **{name: hash_file(path).sha256 for name, path in written.items()}}
    curves = {by: read_curves(tables, by) for by in MEASURES}
    pictures = [
        *draw_claims(claims), *draw_shares(curves), *draw_effects(tables),
        *draw_quality(tables), *draw_stability(tables),
    ]  # fmt: skip
    _write_pictures(folder / FIGURES, pictures)
    browser = None
    if shown := browser_tables(tables):
        title = f"{study.name}: features"
        files = write_browser(shown, folder / BROWSER, title=title, description=study.description or "")
        for path in sorted(set((folder / BROWSER / "data").glob("*.js")) - set(files)):
            path.unlink()
        browser = folder / BROWSER / "index.html"
    bodies = {
        "claims": sections.claims_section(claims, pictures, digests),
        "shares": sections.pictures_section("shares", pictures, ("saes", "nulls"), digests),
        "effects": sections.pictures_section("effects", pictures, ("effects",), digests),
        "quality": sections.pictures_section("quality", pictures, ("saes", "stability"), digests),
        "nulls": sections.nulls_section(tables, digests),
        "kinds": kinds_section(study, tables, digests),
        "comparisons": sections.comparisons_section(claims, digests),
        "sources": sections.sources_section(study, digests),
    }
    present = {name: text for name, text in bodies.items() if text}
    n_saes = len({(row["size"], row["step"], row["layer"], row["seed"]) for row in tables.saes})
    head = sections.head(study, claims, n_saes, list(present), browser is not None)
    write_atomic(folder / REPORT_FILE, page(study.name, [head, *present.values()]).encode("utf-8"))
    return WrittenReport(
        path=folder / REPORT_FILE, browser=browser, claims=tuple(claims), pictures=tuple(pictures), curves=curves,
    )  # fmt: skip


def _write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write the pictures, and remove those of an earlier report."""
    documents = {f"{each.name}.png": each.png for each in pictures} | {
        f"{each.name}.svg": each.svg for each in pictures
    }
    for name, data in documents.items():
        write_atomic(folder / name, data, durable=False)
    for path in sorted(folder.glob("*")):
        if path.suffix in (".svg", ".png") and path.name not in documents:
            path.unlink()
