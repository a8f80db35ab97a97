"""How a release is to be published, and what a publication reports. Records only."""

from dataclasses import dataclass, field
from typing import Protocol

from release_kit.core.placement import Placement
from release_kit.release.publish.layout import PublishPlan

WORKERS = 8


class Reporter(Protocol):
    """Where progress is shown (``cli.output.Progress``)."""

    def start(self, label: str, total: float | None, unit: str = "bytes") -> None:
        """Begin a stage."""

    def advance(self, n: float = 1) -> None:
        """Say that ``n`` more are done."""

    def say(self, text: str) -> None:
        """Say what is happening."""


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """How to publish.

    Args:
        namespace: account or organisation.
        layout: ``repos``, ``branches``, ``folders``; None keeps what is published, or chooses.
        private: make repos private.
        collection: title of the collection; None makes none.
        overwrite: take over files that somebody else put where the release goes.
        replace: change the data of a version that is published already.
        xet: send large files through Xet, where the Hub offers it, instead of LFS.
        workers: requests at a time.
    """

    namespace: str
    layout: str | None = None
    private: bool = False
    collection: str | None = None
    overwrite: bool = False
    replace: bool = False
    xet: bool = False
    workers: int = WORKERS


@dataclass(frozen=True, kw_only=True)
class PublishReport:
    """What a publication did."""

    plan: PublishPlan
    reference: str
    endpoint: str
    placement: Placement
    n_commits: int
    n_tags: int
    n_bytes_sent: int
    n_requests: int
    n_writes: int
    seconds: float
    collection: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict:
        """Return the report for ``--json``."""
        plan = self.plan
        return {
            "reference": self.reference,
            "endpoint": self.endpoint,
            "page": f"{self.endpoint}{plan.index_repo.page_path}",
            "layout": plan.layout,
            "reason": plan.reason,
            "n_cells": sum(len(target.cells) for target in plan.cell_targets),
            "n_repos": len(plan.repos),
            "n_commits": self.n_commits,
            "n_tags": self.n_tags,
            "n_bytes_sent": self.n_bytes_sent,
            "n_requests": self.n_requests,
            "n_writes": self.n_writes,
            "seconds": round(self.seconds, 3),
            "collection": self.collection,
            "notes": list(self.notes),
        }
