"""What the browser shows: four tables of a study, their columns, and whether they fit each other.

Rows keep their place: a number on a page names the table's file and row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from release_kit.core.wording import counted
from release_kit.sae.errors import SaeError

if TYPE_CHECKING:
    import pyarrow as pa

CELL = ("size", "step", "layer", "seed")
"""What names an autoencoder."""
SAE_COLUMNS: Mapping[str, str] = {
    "size": "string",
    "step": "int64",
    "layer": "int32",
    "seed": "int32",
    "metric": "string",
    "value": "double",
}
"""One row for each figure of an autoencoder: ``bilingual_count``, ``bilingual_count_null``, ``fvu`` …"""
FEATURE_COLUMNS: Mapping[str, str] = {
    **{name: SAE_COLUMNS[name] for name in CELL},
    "feature": "int32",
    "class": "string",
    "granularity": "string",
    "share": "double",
    "low": "double",
    "high": "double",
    "density": "double",
    "max_activation": "double",
}
"""One row for each feature that is shown; ``share``: of rate-normalised firing that is in the first language."""
CONTEXT_COLUMNS: Mapping[str, str] = {
    **{name: SAE_COLUMNS[name] for name in CELL},
    "feature": "int32",
    "language": "string",
    "rank": "int32",
    "tokens": "list<string>",
    "activations": "list<float>",
    "pair_text": "string",
}
"""One row for each context: its tokens, the feature's activation at each, the sentence in the other language."""
LINK_COLUMNS: Mapping[str, str] = {
    "size": "string",
    "layer": "int32",
    "seed": "int32",
    "from_step": "int64",
    "from_feature": "int32",
    "to_step": "int64",
    "to_feature": "int32",
    "cosine": "double",
}
"""One row for each feature that goes on in the next step: its decoder there, and the cosine between both."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BrowserTables:
    """The tables of a browser.

    Attributes:
        saes, features, contexts, links: tables with the columns above; further columns are left alone.
        languages: the two languages, the one that ``share`` is of first.
        sources: table → the file that it was read from, as pages name it.
    """

    saes: "pa.Table"
    features: "pa.Table"
    contexts: "pa.Table"
    links: "pa.Table"
    languages: tuple[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse tables that lack columns, or contexts of features that are not there.

        Raises:
            SaeError: every column that is missing or of another type; contexts without their feature.
        """
        wanted = {"saes": SAE_COLUMNS, "features": FEATURE_COLUMNS, "contexts": CONTEXT_COLUMNS, "links": LINK_COLUMNS}
        wrong = [
            problem for name, columns in wanted.items() for problem in _lacking(name, getattr(self, name), columns)
        ]
        if wrong:
            raise SaeError("; ".join(wrong), where="browser tables")
        known = set(_keys(self.features))
        lost = [key for key in _keys(self.contexts) if key not in known]
        if lost:
            size, step, layer, seed, feature = lost[0]
            raise SaeError(
                f"{counted(len(lost), 'context')} of features that are not among the features",
                where=f"{size}, step {step}, layer {layer}, seed {seed}, feature {feature}",
            )


def _lacking(name: str, table: "pa.Table", columns: Mapping[str, str]) -> list[str]:
    found = dict(zip(table.schema.names, table.schema.types, strict=True))
    wrong = []
    for column, kind in columns.items():
        if column not in found:
            wrong.append(f"{name}.{column} is missing")
        elif not _is(str(found[column]), kind):
            wrong.append(f"{name}.{column} is {found[column]}, expected {kind}")
    return wrong


def _is(found: str, kind: str) -> bool:
    """Say whether a column can be read as this kind: widths of numbers do not matter."""
    families = (("int",), ("double", "float"), ("string", "large_string", "dictionary"))
    if kind.startswith("list"):
        inner = kind[5:-1]
        return found.startswith(("list<", "large_list<")) and any(
            inner.startswith(family) and any(word in found for word in family) for family in families
        )
    return any(kind.startswith(family) and found.startswith((*family, "uint")) for family in families)


def _keys(table: "pa.Table") -> list[tuple]:
    return list(zip(*(table.column(name).to_pylist() for name in (*CELL, "feature")), strict=True))
