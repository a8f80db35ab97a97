"""All claims of a study, and their two tables: a row for each claim, and a row for each comparison behind one.

``tables/claims.parquet``, ``tables/claim_comparisons.parquet`` and ``report/claims.json`` hold the same; the same
tables give the same bytes.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core.canonical import document_bytes
from release_kit.core.files import open_atomic, write_atomic
from release_kit.sae.claims.curves import MEASURES, read_curves
from release_kit.sae.claims.estimate import Comparison
from release_kit.sae.claims.granularity import MEANING, NOTHING, kind_shares
from release_kit.sae.claims.integration import integration_claims
from release_kit.sae.claims.judge import StudyClaim
from release_kit.sae.claims.read import StudyTables, source
from release_kit.sae.claims.shape import kind_claim, layer_claim, size_claims
from release_kit.sae.claims.training import training_claims

if TYPE_CHECKING:
    import pyarrow as pa

CLAIMS, COMPARISONS = "claims", "claim_comparisons"
CLAIMS_JSON = "report/claims.json"
_FIGURES = ("value", "low", "high", "p", "p_adjusted")


def study_claims(tables: StudyTables) -> list[StudyClaim]:
    """Return every claim with its verdict: training, layers, sizes by count and by mass, kinds, interventions."""
    claims: list[StudyClaim] = []
    by_measure = {by: read_curves(tables, by) for by in MEASURES}
    nothing = kind_shares(tables.tables["features"], by_measure["count"], NOTHING)
    for by, curves in by_measure.items():
        claims += training_claims(curves, by, nothing)
        claims += [layer_claim(curves, by), *size_claims(curves, by)]
    counted_curves = by_measure["count"]
    claims.append(kind_claim(counted_curves, kind_shares(tables.tables["features"], counted_curves, MEANING)))
    claims += integration_claims(tables.effects, tables.sizes, tables.languages)
    return claims


def claims_table(claims: Sequence[StudyClaim]) -> "pa.Table":
    """Return one row for each claim; the figures are those of the needed comparison that speaks least for it."""
    import pyarrow as pa

    texts = ("name", "by", "detail", "text", "verdict", "why")
    numbers = ("n_seeds", "n_needed", "n_for", "n_against")
    least = ("size", "what", "beside")
    schema = pa.schema(
        [*((name, pa.string()) for name in texts), *((name, pa.int32()) for name in numbers),
         *((name, pa.string()) for name in least), *((name, pa.float64()) for name in _FIGURES)]
    )  # fmt: skip
    rows = []
    for claim in claims:
        outcomes = [one.outcome for one in claim.needed]
        row: dict[str, Any] = {name: getattr(claim, name) for name in (*texts, "n_seeds")}
        row |= {"n_needed": len(outcomes), "n_for": outcomes.count("for"), "n_against": outcomes.count("against")}
        weakest = claim.weakest
        row |= {name: "" if weakest is None else getattr(weakest, name) for name in least}
        row |= {name: None if weakest is None else _plain(getattr(weakest, name)) for name in _FIGURES}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=schema)


def comparisons_table(claims: Sequence[StudyClaim]) -> "pa.Table":
    """Return one row for each comparison of each claim, in their order."""
    import pyarrow as pa

    texts, more = ("name", "by", "detail"), ("size", "what", "beside", "outcome", "source")
    schema = pa.schema(
        [*((name, pa.string()) for name in (*texts, *more)), ("needed", pa.bool_()), ("n_seeds", pa.int32()),
         *((name, pa.float64()) for name in _FIGURES), ("values", pa.list_(pa.float64()))]
    )  # fmt: skip
    rows = [
        {**{name: getattr(claim, name) for name in texts}, **_comparison(one)}
        for claim in claims for one in claim.comparisons
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema)


def write_claims(claims: Sequence[StudyClaim], folder: Path) -> dict[str, Path]:
    """Write both tables and the JSON of the claims below the folder of a study; each appears whole or not at all.

    Args:
        claims: of ``study_claims``. folder: of the study.

    Returns:
        How pages name each file → its path.
    """
    import pyarrow.parquet as pq

    written = {}
    for name, table in ((CLAIMS, claims_table(claims)), (COMPARISONS, comparisons_table(claims))):
        path = folder / source(name)
        with open_atomic(path, durable=False) as stream:
            pq.write_table(table, stream, compression="zstd")
        written[source(name)] = path
    value = {"schema_version": 1, "claims": [_record(claim) for claim in claims]}
    write_atomic(folder / CLAIMS_JSON, document_bytes(value), durable=False)
    return {**written, CLAIMS_JSON: folder / CLAIMS_JSON}


def _record(claim: StudyClaim) -> dict[str, Any]:
    texts = ("name", "text", "by", "detail", "verdict", "why", "n_seeds")
    return {
        **{name: getattr(claim, name) for name in texts},
        "comparisons": [_comparison(one) for one in claim.comparisons],
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in ("size", "what", "beside", "outcome", "needed", "n_seeds")},
        "source": source(one.source),
        **{name: _plain(getattr(one, name)) for name in _FIGURES},
        "values": list(one.values),
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
