"""What a derivative says of the dataset that it was made of: its name, where it is, which version.

A dataset without a DOI has no address that means anything elsewhere: it is named by a BIDS URI, and what was analysed
by the version of its ``CHANGES`` or the digest of the recordings.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.canonical import digest, read_json
from release_kit.core.errors import RecordError
from release_kit.encoding.pipeline.inputs import Inputs
from release_kit.encoding.spec.model import Analysis

_VERSION = re.compile(r"^\W*v?(\d+(?:\.\d+)+[\w.+-]*)")


def dataset_facts(analysis: Analysis, inputs: Inputs) -> dict[str, Any]:
    """Return what ``analysis.json`` says of its dataset: name, layout, which responses, ``SourceDatasets`` entries."""
    use = analysis.dataset
    described = _description(use.path)
    name = str(described.get("Name") or use.path.resolve().name)
    return {
        "name": name,
        "layout": use.layout,
        "derivative": use.derivative,
        "kind": use.kind,
        "space": use.space,
        "desc": use.desc,
        "sources": [_source(use.path, described, name, inputs)],
    }


def _source(root: Path, described: Mapping[str, Any], name: str, inputs: Inputs) -> dict[str, str]:
    """Return one entry of ``SourceDatasets``: DOI or BIDS URI, and a version; no path of this machine."""
    found = {}
    if doi := str(described.get("DatasetDOI") or "").removeprefix("doi:"):
        found["DOI"] = f"doi:{doi.removeprefix('https://doi.org/')}"
    else:
        found["URL"] = f"bids:{re.sub('[^0-9a-z]+', '-', name.lower()).strip('-') or 'dataset'}:"
    return {**found, "Version": _version(root) or f"sha256:{_recordings(inputs)}"}


def _version(root: Path) -> str | None:
    """Return the version that the first line with one in ``CHANGES`` names."""
    for file in ("CHANGES", "CHANGES.md"):
        try:
            lines = (root / file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        return next((match[1] for line in lines if (match := _VERSION.match(line))), None)
    return None


def _recordings(inputs: Inputs) -> str:
    """Return the digest of every recording that was used."""
    plans = inputs.plans.values()
    return digest(
        {plan.subject: {run.name: inputs.digest(plan.subject, run) for run in plan.used_runs} for plan in plans}
    )


def _description(root: Path) -> Mapping[str, Any]:
    try:
        found = read_json(root / "dataset_description.json")
    except RecordError:
        return {}
    return found if isinstance(found, dict) else {}
