"""What people say of features, beside what the automatic rule says: one row for each label.

A label may be given once features have numbers, so labels decide this table and nothing that is measured.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from release_kit.core.records import nearest
from release_kit.sae.classify.granularity import GRANULARITIES, Agreement, agreement
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.pipeline.plan import keys
from release_kit.sae.spec.model import SaeStudy

if TYPE_CHECKING:
    import pyarrow as pa

HEAD = ("size", "step", "layer", "seed", "feature", "label")
_N_SHOWN = 3
_NEXT = f"the first line is {', '.join(HEAD)}, with tabs between; the others are labels of features"


def read_labels(study: SaeStudy) -> dict[tuple[SaeKey, int], str]:
    """Return (autoencoder, feature) → label of a study's table of labels; none where it names no table.

    Raises:
        SaeError: the table cannot be read, or what is wrong with its lines.
    """
    if study.classify.labels is None:
        return {}
    path = study.folder / study.classify.labels
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SaeError(f"cannot be read ({error})", where=str(path), next_step=_NEXT) from error
    if not lines or tuple(lines[0].split("\t")) != HEAD:
        raise SaeError(f"the first line is no head of {', '.join(HEAD)}", where=str(path), next_step=_NEXT)
    found: dict[tuple[SaeKey, int], str] = {}
    planned, problems = set(keys(study)), []
    for number, line in enumerate(lines[1:], start=2):
        if line:
            problems += [f"line {number} {problem}" for problem in _add(line.split("\t"), planned, found)]
    if problems:
        more = f"; and {len(problems) - _N_SHOWN} more" if len(problems) > _N_SHOWN else ""
        raise SaeError("; ".join(problems[:_N_SHOWN]) + more, where=str(path), next_step=_NEXT)
    return found


def label_rows(study: SaeStudy, features: "pa.Table") -> Iterator[dict[str, Any]]:
    """Yield a row for each label of a measured autoencoder, with class and granularity of the feature.

    Args:
        study: with a table of labels. features: the merged table.

    Raises:
        SaeError: a label is of a feature that its autoencoder does not have.
    """
    labels = read_labels(study)
    columns = ("size", "step", "layer", "seed", "feature", "class", "granularity")
    wanted = {key for key, _ in labels}
    rows: dict[tuple[SaeKey, int], Mapping[str, Any]] = {}
    for row in features.select(columns).to_pylist() if labels else ():
        key = SaeKey(size=row["size"], step=row["step"], layer=row["layer"], seed=row["seed"])
        if key in wanted:
            rows[key, row["feature"]] = row
    measured = {key for key, _ in rows}
    for (key, feature), label in labels.items():
        if key in measured:
            if (key, feature) not in rows:
                where = str(study.folder / str(study.classify.labels))
                raise SaeError(f"{key.title} has no feature {feature}", where=where, next_step="correct the line")
            yield {**rows[key, feature], "label": label}


def label_agreement(rows: "pa.Table") -> Agreement | None:
    """Return how well the automatic rule agrees with people; None where no feature has both.

    Args:
        rows: of ``label_rows``.
    """
    automatic, human = rows.column("granularity").to_pylist(), rows.column("label").to_pylist()
    return agreement(automatic, human) if any(automatic) else None


def _add(fields: list[str], planned: set[SaeKey], found: dict[tuple[SaeKey, int], str]) -> Iterator[str]:
    """Add one line to what was found, or yield what is wrong with it."""
    if len(fields) != len(HEAD):
        yield f"has {len(fields)} columns; expected {len(HEAD)}"
        return
    if not all(field.isascii() and field.isdigit() for field in fields[1:5]):
        yield "has a step, layer, seed or feature that is no number"
        return
    step, layer, seed, feature = (int(field) for field in fields[1:5])
    key, label = SaeKey(size=fields[0], step=step, layer=layer, seed=seed), fields[5]
    if key not in planned:
        yield f"names {key.title}, which the study has not"
    elif label not in GRANULARITIES:
        yield f"has the label {label!r}, none of {', '.join(GRANULARITIES)}{nearest(label, GRANULARITIES)}"
    elif (key, feature) in found:
        yield f"labels feature {feature} of {key.title} a second time"
    else:
        found[key, feature] = label
