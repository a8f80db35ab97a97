"""What a release of autoencoders says of itself: grid, licence, attribution, hook, words for its cards.

Comes from ``sae.yaml`` and, where people have more to say, from ``release.yaml`` beside it, whose keys are those of
``study.yaml``. Nothing is guessed: a text without a licence is said to have none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.core.records import nearest
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.prepare.jmdict import JMDICT_ATTRIBUTION
from release_kit.sae.prepare.meanings import JMDICT
from release_kit.sae.prepare.pairs import TATOEBA, TATOEBA_ATTRIBUTION, TATOEBA_LICENSE
from release_kit.sae.publish.metrics import BENCHMARKS, METRICS_TABLE
from release_kit.sae.spec.model import SaeStudy

RELEASE_FILE = "release.yaml"
SAID_BY_PEOPLE = (
    "version", "title", "description", "authors", "license", "languages", "tags", "citation", "limits", "homepage",
    "namespace", "layout", "allow",
)  # fmt: skip
NAMES = "{size}-step-{step}-layer-{layer}-seed-{seed}"
FACTORS = ("size", "step", "layer", "seed")
HOOK = "Layer L is the residual stream after block L (counted from 1), before the final norm."
_LIMITS = (
    "An autoencoder belongs to one model at one training step: on another model, or on activations from another place, "
    "its features mean nothing. Shares of bilingual features are read beside their nulls, or not at all."
)


def release_values(study: SaeStudy, planned: Sequence[SaeKey]) -> dict[str, Any]:
    """Return the content of the published ``study.yaml``.

    Args:
        study: the study.
        planned: every autoencoder of its grid, made or not.

    Raises:
        SaeError: ``release.yaml`` cannot be read, or has a key that is not people's to write.
    """
    said = read_said(study.folder)
    values: dict[str, Any] = {
        "schema_version": 1,
        "name": study.name,
        "version": "1.0.0",
        "title": f"Sparse autoencoders: {study.name}",
        "description": _description(study),
        "languages": list(study.text.languages),
        "tags": ["sparse-autoencoder", "saelens", "interpretability"],
        "limits": _LIMITS,
        "layout": "folders",
    }
    if licence := licence_of(study):
        values["license"] = licence
    own = values["description"]
    values |= said
    if "description" in said:
        values["description"] = f"{said['description'].strip()}\n\n{own}"
    values["names"] = NAMES
    values["factors"] = {name: _levels(planned, name) for name in FACTORS}
    values["include"] = _blocks(planned)
    training = {name: value for name, value in asdict(study.training).items() if name != "checkpoint_every"}
    values["settings"] = _plain({"sae": asdict(study.sae), "training": training})
    values["benchmarks"] = BENCHMARKS
    values["results"] = [
        {
            "format": "parquet",
            "path": METRICS_TABLE,
            "factors": {name: name for name in FACTORS},
            "metrics": [
                {"column": "value", "benchmark": {"column": "benchmark"}, "metric": {"column": "metric"}},
            ],
            "ignore": ["source"],
        }
    ]
    return values


def licence_of(study: SaeStudy) -> str | None:
    """Return the licence of the text as the study gives it; None where it is not known."""
    if study.text.licence:
        return study.text.licence
    return TATOEBA_LICENSE if study.text.source == TATOEBA else None


def attribution_of(study: SaeStudy) -> list[str]:
    """Return whom to name for text and dictionary, and under which licence, one sentence each."""
    said = [study.text.attribution] if study.text.attribution else []
    if study.text.source == TATOEBA:
        said = list(dict.fromkeys([*said, TATOEBA_ATTRIBUTION]))
    else:
        licence = f"licence {study.text.licence}" if study.text.licence else "its licence is not declared"
        said = [*said, f"Sentences: {Path(study.text.source).name}, {licence}"]
    return [*said, JMDICT_ATTRIBUTION] if study.classify.meanings == JMDICT else said


def read_said(folder: Path) -> dict[str, Any]:
    """Return what people wrote in ``release.yaml``; nothing where there is none.

    Raises:
        SaeError: it cannot be read, is no mapping, or has an unknown key.
    """
    from release_kit.core.strict_yaml import parse_yaml

    path = folder / RELEASE_FILE
    if not path.is_file():
        return {}
    try:
        found = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SaeError("cannot be read as UTF-8 text", where=str(path)) from error
    except RecordError as error:
        raise SaeError(error.what, where=error.where or str(path), next_step=error.next_step) from error
    if not isinstance(found, dict):
        raise SaeError(
            "is no mapping", where=str(path), next_step=f"write keys such as {', '.join(SAID_BY_PEOPLE[:5])}"
        )
    for key in found:
        if key not in SAID_BY_PEOPLE:
            what = f"has the key {key!r}{nearest(str(key), SAID_BY_PEOPLE)}"
            raise SaeError(what, where=str(path), next_step=f"known keys: {', '.join(SAID_BY_PEOPLE)}")
    if "description" in found and not isinstance(found["description"], str):
        raise SaeError("`description` is no text", where=str(path))
    return found


def _description(study: SaeStudy) -> str:
    parts = [study.description.strip()] if study.description else []
    parts.append(
        "Sparse autoencoders of language models over sizes, training steps, layers and seeds, in SAELens' layout. "
        + HOOK
    )
    parts.append("Data. " + ". ".join(one.rstrip(".") for one in attribution_of(study)) + ".")
    return "\n\n".join(parts)


def _levels(planned: Sequence[SaeKey], name: str) -> list[Any]:
    """Return the levels of a factor: sizes in the order of the study, numbers ascending."""
    found = dict.fromkeys(getattr(key, name) for key in planned)
    return list(found) if name == "size" else sorted(found)


def _blocks(planned: Sequence[SaeKey]) -> list[dict[str, Any]]:
    """Return one block of the grid for each size: sizes may differ in steps and layers."""
    blocks = []
    for size in dict.fromkeys(key.size for key in planned):
        own = [key for key in planned if key.size == size]
        blocks.append({"size": size, **{name: _levels(own, name) for name in FACTORS[1:]}})
    return blocks


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    return canonical.parse_json(canonical.document_bytes(value), "settings")
