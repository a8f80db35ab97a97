"""The files that describe a dataset as a whole: description, participants, scans, citation, changes.

Each function returns the bytes of one file from the recipe; nothing is read, no clock is asked. The README is
``readme.py``, the published recipe ``published.py``, sidecars of images ``metadata.py``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import release_kit
from release_kit.bids.recipe.licence import OWN_TERMS
from release_kit.bids.recipe.model import DatasetFacts, MatDerivative, Recipe
from release_kit.bids.schema import BIDS_VERSION

MISSING = "n/a"
KNOWN_COLUMNS: dict[str, dict[str, Any]] = {
    "age": {"Description": "Age of the participant at the time of the recordings.", "Units": "year"},
    "sex": {"Description": "Sex of the participant.", "Levels": {"F": "female", "M": "male", "O": "other"}},
    "handedness": {
        "Description": "Handedness of the participant.",
        "Levels": {"right": "right-handed", "left": "left-handed", "ambidextrous": "no preferred hand"},
    },
}


def json_file(value: Any) -> bytes:
    """Return the bytes of a JSON file of the dataset; keys keep the order they are given in."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def tsv_file(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the bytes of a TSV file; what is absent or empty is ``n/a``, tabs and line ends are written out."""
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row.get(column)) for column in columns) for row in rows]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    text = str(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def generated_by() -> list[dict[str, str]]:
    """Return what says which program made a dataset."""
    return [{"Name": "release_kit", "Version": release_kit.__version__}]


def dataset_description(facts: DatasetFacts) -> bytes:
    """Return ``dataset_description.json`` of the raw dataset.

    Authors, licence and how to cite stand in ``CITATION.cff``: BIDS refuses them here when there is one. References
    stand in the README, since the citation file takes none without authors and a title of their own.
    """
    value = {
        "Name": facts.name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "Keywords": list(facts.keywords),
        "Acknowledgements": facts.acknowledgements,
        "Funding": list(facts.funding),
        "EthicsApprovals": list(facts.ethics_approvals),
        "DatasetDOI": facts.doi,
        "GeneratedBy": generated_by(),
    }
    return json_file(_given(value))


def derivative_description(recipe: Recipe, derivative: MatDerivative) -> bytes:
    """Return ``dataset_description.json`` of a derivative that is taken along."""
    facts = recipe.dataset
    taken = {"Description": "Took the arrays along as NIfTI, values unchanged.", **generated_by()[0]}
    value = {
        "Name": f"{facts.name}: {derivative.name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": facts.license,
        "Authors": list(facts.authors),
        "EthicsApprovals": list(facts.ethics_approvals),
        "Funding": list(facts.funding),
        "ReferencesAndLinks": list(facts.references),
        "HowToAcknowledge": facts.how_to_acknowledge,
        "GeneratedBy": [{"Name": derivative.name, "Description": derivative.description}, taken],
        "SourceDatasets": [_given({"URL": "../../", "DOI": facts.doi, "Version": facts.version})],
        "DatasetLinks": {"raw": "../../"},
    }
    return json_file(_given(value))


def derivative_readme(recipe: Recipe, derivative: MatDerivative) -> bytes:
    """Return ``README.md`` of a derivative that is taken along."""
    text = (
        f"# {derivative.name}\n\n{derivative.description.strip()}\n\n"
        f"Derived from the recordings of *{recipe.dataset.name}* {recipe.dataset.version}, two folders above. Each "
        "image holds the values as they were handed over, put back into the volume; outside the mask they are 0.\n"
    )
    return text.encode("utf-8")


def _given(value: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what nobody said."""
    return {key: item for key, item in value.items() if item not in (None, "", [], {})}


def participants(recipe: Recipe) -> tuple[bytes, bytes]:
    """Return ``participants.tsv`` and ``participants.json``."""
    named = {column for subject in recipe.subjects for column in subject.columns}
    columns = [c for c in KNOWN_COLUMNS if c in named] + sorted(named - KNOWN_COLUMNS.keys())
    rows = [{"participant_id": f"sub-{subject.label}", **subject.columns} for subject in recipe.subjects]
    described: dict[str, Any] = {"participant_id": {"Description": "Label of the participant in this dataset."}}
    for column in columns:
        known = KNOWN_COLUMNS.get(column) or {"Description": f"{column.replace('_', ' ')}, as the study gives it."}
        described[column] = _with_levels(known, {str(row[column]) for row in rows if row.get(column) is not None})
    return tsv_file(["participant_id", *columns], rows), json_file(described)


def _with_levels(known: dict[str, Any], values: set[str]) -> dict[str, Any]:
    if "Levels" not in known:
        return known
    return {**known, "Levels": {value: known["Levels"].get(value, value) for value in sorted(values - {MISSING})}}


def scans(rows: Iterable[tuple[str, str | None]]) -> bytes:
    """Return a ``scans.tsv`` of ``(file relative to its folder, shifted acquisition time or None)``."""
    return tsv_file(["filename", "acq_time"], [{"filename": name, "acq_time": time} for name, time in rows])


def citation(facts: DatasetFacts) -> bytes:
    """Return ``CITATION.cff`` (Citation File Format 1.2.0).

    An author written ``Family, Given`` is a person with both names; anything else is kept whole, since which part of a
    name is which cannot be known. Terms of the lab's own (``LicenseRef-…``) have no place here: the README names them.
    """
    lines = ["cff-version: 1.2.0", "type: dataset"]
    lines.append(f"message: {_quoted(facts.how_to_acknowledge or 'If you use this dataset, please cite it as below.')}")
    lines += [f"title: {_quoted(facts.name)}", f"version: {_quoted(facts.version)}", "authors:"]
    for author in facts.authors:
        family, comma, given = (part.strip() for part in author.partition(","))
        if comma and given:
            lines += [f"  - family-names: {_quoted(family)}", f"    given-names: {_quoted(given)}"]
        else:
            lines.append(f"  - name: {_quoted(author)}")
    lines.append(f"abstract: {_quoted(facts.description)}")
    if not facts.license.startswith(OWN_TERMS):
        lines.append(f"license: {_quoted(facts.license)}")
    if facts.doi:
        lines.append(f"doi: {_quoted(facts.doi.removeprefix('https://doi.org/').removeprefix('doi:'))}")
    if facts.keywords:
        lines += ["keywords:", *(f"  - {_quoted(word)}" for word in facts.keywords)]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _quoted(text: str) -> str:
    """Return a YAML double-quoted scalar: JSON's is one."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def changes(facts: DatasetFacts) -> bytes:
    """Return the first ``CHANGES`` (CPAN form); the date of a version is known when it is saved."""
    return f"{facts.version} Not Released\n  - First version.\n".encode()
