"""What an audit reports: findings with a code, a place and the next step; the codes in ``docs/audit.md``."""

from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("error", "warning", "note")

CODES = {
    "identical-payload": "Several labels serve one and the same payload.",
    "serves-last-weights": "Labels of a series serve the weights of its last one (or of main).",
    "main-not-last": "main serves the weights of another label than the last of the series.",
    "shared-shard": "Single shards are the same under labels whose other shards differ.",
    "missing-label": "A label of a series (a step, a layer, a seed) is not there.",
    "missing-shard": "A shard that the names of the others count is not there.",
    "weights-missing": "No weights where every sibling has some.",
    "empty-weights": "A weights file has no bytes, or is a Git LFS pointer kept as text.",
    "size-outlier": "The weights have another size than those of all siblings.",
    "index-disagrees": "The index of the shards names files that are not there, or leaves out some that are.",
    "index-missing": "Several shards, and no index that says which tensor is where.",
    "index-size": "The shards hold fewer bytes than their index says.",
    "label-disagrees": "A label says another step than a file beside the weights.",
    "label-outlier": "Two numbers of one label (step and tokens) do not go together as in the others.",
    "pickle-only": "Weights are there as pickles only; loading one runs code.",
    "card-missing": "A repo without a card.",
    "card-invalid": "The front matter of a card cannot be read.",
    "license-missing": "A card that names no licence.",
    "base-model-missing": "A card that names no base model.",
    "base-model-disagrees": "The card and the adapter's config name different base models.",
    "number-without-source": "Numbers in a card's model-index that say not where they come from.",
    "unreadable": "Something could not be listed or read; nothing is claimed about it.",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or may be."""

    code: str
    severity: str
    where: str
    """``namespace/name``, ``…@revision`` or ``…@revision:folder``."""
    what: str
    next_step: str = ""
    members: tuple[str, ...] = ()
    """The places or labels that it concerns, in the order of their numbers."""
    counts: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "what": self.what,
            "next_step": self.next_step,
            "members": list(self.members),
            "counts": dict(self.counts),
        }


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity, then place, then code."""
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.where, f.code, f.what)))


def some(names: list[str] | tuple[str, ...], most: int = 6) -> str:
    """Return the first names and how many more there are."""
    more = f", … {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
