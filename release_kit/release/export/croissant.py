"""Croissant 1.0 (MLCommons): the results tables of a release as a dataset that ``mlcroissant`` loads and checks.

Record sets follow from the Parquet schemas; name, licence and text come from the dataset card. What the card does not
say is left out.
"""

import os
from pathlib import Path
from typing import Any

from release_kit.core.canonical import document_bytes
from release_kit.core.errors import StudyError
from release_kit.release.export.contents import RESULTS_CARD, Contents, ExportFile, card_facts

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}
_TERMS = [
    "citeAs",
    "column",
    "equivalentProperty",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
]


def croissant_bytes(contents: Contents, target: Path, *, date: str, base_url: str | None = None) -> bytes:
    """Return the JSON-LD of the results dataset.

    Args:
        contents: the release.
        target: where the file will lie; tables are named relative to its folder unless ``base_url`` is given.
        date: ``datePublished``, ``YYYY-MM-DD``.
        base_url: address that the tables' names are appended to (the dataset's ``resolve`` address on a Hub).

    Raises:
        StudyError: the release has no results tables.
    """
    tables = [f for f in contents.files if f.tree_path.startswith("results/") and f.tree_path.endswith(".parquet")]
    if not tables and contents.manifest.is_dataset:
        what = "the release is a dataset and holds no results table, which is what Croissant describes here"
        step = "a Hub describes the dataset's own tables in Croissant; or export ro-crate"
        raise StudyError(what, where=str(contents.tree.root), next_step=step)
    if not tables:
        raise StudyError("the release holds no results table", where=str(contents.tree.root))
    manifest, facts = contents.manifest, card_facts(contents, RESULTS_CARD)
    n_rows = {file.tree_path: _n_rows(file) for file in tables}
    listed = ", ".join(f"{Path(path).name} ({n} rows)" for path, n in n_rows.items())
    value = {
        "@context": _CONTEXT | {term: f"cr:{term}" for term in _TERMS},
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{manifest.study}-results",
        "alternateName": facts.get("pretty_name") or facts.get("heading"),
        "description": f"Results of {manifest.study} {manifest.version}, {len(manifest.cells)} cells: {listed}.",
        "license": facts.get("license"),
        "inLanguage": facts.get("language"),
        "version": manifest.version,
        "datePublished": date,
        "identifier": f"sha256:{manifest.root}",
        "distribution": [_file_object(file, target, base_url) for file in tables],
        "recordSet": [_record_set(file) for file in tables],
    }
    return document_bytes({key: item for key, item in value.items() if item is not None})


def _file_object(file: ExportFile, target: Path, base_url: str | None) -> dict[str, Any]:
    name = file.tree_path.removeprefix("results/")
    relative = os.path.relpath(os.path.abspath(file.path), os.path.abspath(target.parent))
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": f"{base_url.rstrip('/')}/{name}" if base_url else relative.replace(os.sep, "/"),
        "contentSize": f"{file.size_bytes} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file.sha256,
    }


def _record_set(file: ExportFile) -> dict[str, Any]:
    import pyarrow.parquet as pq

    name = file.tree_path.removeprefix("results/")
    table = name.removesuffix(".parquet").replace("/", "-")
    fields = [_field(table, name, column.name, column.type) for column in pq.read_schema(file.path)]
    return {"@type": "cr:RecordSet", "@id": table, "name": table, "field": fields}


def _field(table: str, file: str, column: str, kind: Any) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{column}",
        "name": column,
        "dataType": _data_type(kind),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
    }


def _data_type(kind: Any) -> str:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _n_rows(file: ExportFile) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(file.path).num_rows
