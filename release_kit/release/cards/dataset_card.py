"""The card of a release that is one dataset: the dataset's own page, what is in each part, and how to get a part.

The page on a Hub is the ``README.md`` of the repo, so the card stands in for that of the dataset and shows it in full.
Its tables come from ``dataset.json``, in which every row names the files it was taken from.
"""

import json
import keyword
from typing import Any

from release_kit.core.dataset_record import DatasetRecord, DatasetTable
from release_kit.core.dataset_tree import NO_LEVEL
from release_kit.core.grid import level_text
from release_kit.core.study import Study
from release_kit.release.cards.front_matter import front_matter, size_category, study_metadata
from release_kit.release.cards.inputs import CardInputs
from release_kit.release.cards.markdown import code, escaped, fenced, prose
from release_kit.release.cards.trace import NumberRow, NumbersTable
from release_kit.release.cards.usage import download_commands, release_reference


def dataset_facts(inputs: CardInputs) -> dict[str, Any]:
    """Return what the template of a dataset's card is filled with.

    Raises:
        OSError: the dataset's own page cannot be read.
    """
    study, record = inputs.study, inputs.dataset or DatasetRecord(folder="", shared=())
    tables = [_table(table) for table in record.tables]
    return {
        "front_matter": front_matter(_metadata(study, record)),
        "readme": _readme(inputs, record),
        "sections": [{"title": escaped(t.title), "name": t.name} for t in record.tables if t.rows],
        "parts": bool(inputs.cells),
        "load": fenced("python", _load(study, record)) if record.configs else None,
        "download": fenced("bash", _download(study)) if release_reference(study) else None,
        "verify": fenced("bash", "release-kit verify " + ("copy" if study.namespace else ".")),
        "tables": {table.name: table for table in (*tables, _parts(inputs)) if table.rows},
        "sources": dict(record.sources),
    }


def _metadata(study: Study, record: DatasetRecord) -> dict[str, Any]:
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": path}]}
        | ({"default": True} if index == 0 else {})
        for index, (name, path) in enumerate(record.configs.items())
    ]
    metadata = {**study_metadata(study), "pretty_name": study.title or study.name}
    tags = list(dict.fromkeys([*(metadata.get("tags") or ()), *record.kinds]))
    if tags:
        metadata["tags"] = tags
    if configs:
        metadata |= {"size_categories": [size_category(record.n_rows)], "configs": configs}
    return metadata


def _readme(inputs: CardInputs, record: DatasetRecord) -> str:
    study = inputs.study
    if record.readme is None:
        heading = f"# {escaped(study.title or study.name)}"
        return f"{heading}\n\n{prose(study.description)}" if study.description else heading
    path = study.folder / record.folder / record.readme
    return prose(path.read_text(encoding="utf-8", errors="replace").removeprefix("\ufeff").replace("\r\n", "\n"))


def _table(table: DatasetTable) -> NumbersTable:
    rows = [
        NumberRow(
            keys=tuple(map(escaped, row.keys)),
            shown=tuple(map(escaped, row.shown)),
            origin={"files": list(row.sources)},
        )
        for row in table.rows
    ]
    return NumbersTable(
        name=table.name,
        keys=tuple(map(escaped, table.keys)),
        columns=tuple(map(escaped, table.columns)),
        rows=rows,
        rules=table.rules,
    )


def _parts(inputs: CardInputs) -> NumbersTable:
    rows = []
    for cell in inputs.cells:
        terms = [f"{name}={level_text(level)}" for name, level in cell.levels.items() if level != NO_LEVEL]
        size = sum(file.size_bytes for file in cell.files)
        shown = (f"{len(cell.files):,}", f"{size / 1e6:,.2f}")
        rows.append(NumberRow(keys=(code(" ".join(terms)),), shown=shown, origin={"cell": cell.cell_id}))
    return NumbersTable(
        name="parts",
        keys=("Part",),
        columns=("Files", "MB"),
        rows=rows,
        rules={"Files": "files of the cell in manifest.json", "MB": "their sizes, in millions of bytes"},
    )


def _examples(study: Study) -> list[str]:
    """Return one ``factor=level`` for each factor: how to get one subject, how to get one level."""
    firsts = [(f.name, next((level for level in f.levels if level != NO_LEVEL), None)) for f in study.factors]
    return [f"{name}={level_text(level)}" for name, level in firsts if level is not None]


def _download(study: Study) -> str:
    lines = ["# everything", download_commands(study).split("\n")[0]]
    for term in _examples(study):
        name, _, level = term.partition("=")
        lines += [f"# one {name}, and what all parts share", download_commands(study, {name: level}).split("\n")[0]]
    return "\n".join(lines)


def _load(study: Study, record: DatasetRecord) -> str:
    place = f"{study.namespace}/{study.name}" if study.namespace else "."
    revision = f', revision="v{study.version}"' if study.namespace else ""
    return "\n".join(
        [
            "from datasets import load_dataset",
            "",
            *([] if study.namespace else ["# in the folder of the download"]),
            *(
                f'{_variable(name)} = load_dataset({json.dumps(place)}, {json.dumps(name)}{revision}, split="train")'
                for name in record.configs
            ),
        ]
    )


def _variable(name: str) -> str:
    return name if name.isidentifier() and not keyword.iskeyword(name) else "rows"
