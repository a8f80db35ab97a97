"""The merged tables of a study as claims, report and browser read them: rows with their numbers, files with digests.

What a table must have is checked here, at once for all; how tables come to be is ``tables/``'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from release_kit.core.hashing import hash_file
from release_kit.sae.errors import SaeError
from release_kit.sae.spec.model import ModelUse, SaeStudy
from release_kit.sae.tables.intact import refuse_other_tables

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = "tables"
_CELL = ("size", "step", "layer", "seed")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "saes": (*_CELL, "metric", "language", "value"),
    "nulls": (*_CELL, "rule", "by", "class", "null", "share", "null_share"),
    "features": (*_CELL, "feature", "class", "granularity"),
    "effects": (*_CELL, "variant", "name", "strength", "kind", "beside", "value", "low", "high", "p", "n_seeds",
                "n_sentences"),
    "stability": (*_CELL, "other_seed", "share_matched", "mean_cosine"),
    "contexts": (*_CELL, "feature"),
    "labels": (*_CELL, "granularity", "label"),
    "links": ("size", "layer", "seed", "from_step", "to_step"),
}  # fmt: skip
"""Columns that are read here; tables have more."""
NEEDED = ("saes", "nulls", "features")
"""Without one of these there is nothing to say; the others may be missing."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyTables:
    """Tables of one study.

    Attributes:
        tables: name → table; those that are not there are missing.
        digests: ``tables/saes.parquet`` → sha256 of the file.
        sizes: of models, the smallest first.
        languages: codes of both.
    """

    tables: "Mapping[str, pa.Table]"
    digests: Mapping[str, str]
    sizes: tuple[str, ...]
    languages: tuple[str, str]

    @cached_property
    def saes(self) -> list[dict[str, Any]]:
        """Figures of autoencoders, in the order of the file."""
        return self.tables["saes"].to_pylist()

    @cached_property
    def nulls(self) -> list[dict[str, Any]]:
        """Shares beside their nulls, in the order of the file."""
        return self.tables["nulls"].to_pylist()

    @cached_property
    def effects(self) -> list[dict[str, Any]]:
        """Effects of interventions, in the order of the file; none where there was no intervention."""
        return self.tables["effects"].to_pylist() if "effects" in self.tables else []

    @cached_property
    def stability(self) -> list[dict[str, Any]]:
        """Seeds compared, in the order of the file."""
        return self.tables["stability"].to_pylist() if "stability" in self.tables else []


def source(name: str) -> str:
    """Return how pages name a table: ``tables/saes.parquet``."""
    return f"{TABLES}/{name}.parquet"


def read_tables(study: SaeStudy) -> StudyTables:
    """Return the merged tables in the folder of a study.

    Args:
        study: whose ``tables/`` are read.

    Raises:
        SaeError: tables are missing or lack columns, each named; they are not what was written, or of a study that was
            declared otherwise.
    """
    import pyarrow.parquet as pq

    folder = study.folder / TABLES
    paths = {name: folder / f"{name}.parquet" for name in COLUMNS}
    missing = [source(name) for name in NEEDED if not paths[name].is_file()]
    if missing:
        raise SaeError(
            f"{', '.join(missing)} not there",
            where=str(study.folder),
            next_step="release-kit sae run writes the tables",
        )
    refuse_other_tables(study)
    tables = {name: pq.read_table(path) for name, path in paths.items() if path.is_file()}
    wrong = [
        f"{source(name)} lacks {column}" for name in tables for column in COLUMNS[name]
        if column not in tables[name].schema.names
    ]  # fmt: skip
    if wrong:
        raise SaeError("; ".join(wrong), where=str(study.folder), next_step="run release-kit sae run again")
    sizes = sizes_of(study)
    strange = sorted(set(tables["saes"].column("size").to_pylist()) - set(sizes))
    if strange:
        raise SaeError(
            f"{source('saes')} has {', '.join(strange)}, which sae.yaml does not name", where=str(study.folder),
            next_step="run release-kit sae run again",
        )  # fmt: skip
    return StudyTables(
        tables=tables,
        digests={source(name): hash_file(paths[name]).sha256 for name in tables},
        sizes=sizes,
        languages=(study.text.languages[0], study.text.languages[1]),
    )


def sizes_of(study: SaeStudy) -> tuple[str, ...]:
    """Return the sizes of a study, the smallest first: by shape where all have one, else in the order of the file."""
    models = list(study.models.values())
    if all(model.hidden_size for model in models):
        models.sort(key=_n_weights)
    return tuple(model.name for model in models)


def _n_weights(model: ModelUse) -> int:
    return (model.hidden_size or 0) ** 2 * (model.n_layers or 0)
