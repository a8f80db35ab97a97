"""What carrying out a publish plan costs: requests of each kind, time under each account tier, limits that come near.

Pure arithmetic over a plan. Documented limits and those that were only seen are told apart in the text.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from release_kit.hub.pacing import COMMITS_PER_HOUR, TIERS, WINDOW_S
from release_kit.hub.reference import Repo
from release_kit.hub.upload import BATCH_BYTES, BATCH_FILES
from release_kit.release.publish.layout import MANY_CELLS, PublishPlan, counts_as_large

LISTING_PAGE = 1000
"""Files on one page of the Hub's listing."""


def count_requests(plan: PublishPlan) -> dict[str, int]:
    """Return the most requests of each kind; what the Hub has already needs fewer."""
    count: Counter[str] = Counter()
    count["make repos"] = len(plan.repos)
    count["make branches"] = len(plan.cell_targets) if plan.layout == "branches" else 0
    for large in _objects_by_repo(plan).values():
        count["ask for upload addresses"] += _n_batches(large)
        count["send large files (storage)"] += len(large)
        count["confirm large files"] += len(large)
    count["commits"] = plan.n_commits
    count["compare with the Hub's listing"] = sum(-(-len(target.files) // LISTING_PAGE) for target in plan.targets) + 1
    count["tags"] = sum(target.tag is not None for target in plan.targets) + 1
    count["read refs"] = 2
    count["read what was published before"] = 2
    count["collection"] = (2 + len(plan.repos)) if plan.collection else 0
    return {kind: n for kind, n in count.items() if n}


def n_api_requests(plan: PublishPlan) -> int:
    """Requests that count against the Hub's API budget."""
    return sum(n for kind, n in count_requests(plan).items() if "storage" not in kind)


def least_seconds(plan: PublishPlan) -> dict[str, float]:
    """Return tier → the least seconds that its request budget allows; sending the bytes comes on top."""
    return {tier: _window_seconds(n_api_requests(plan), api) for tier, (api, _) in TIERS.items()}


def limit_notes(plan: PublishPlan) -> list[str]:
    """Return limits of the public Hub that this plan comes near to; those marked *seen* are not documented."""
    notes = []
    if plan.n_commits > COMMITS_PER_HOUR:
        hours = plan.n_commits / COMMITS_PER_HOUR
        notes.append(
            f"{plan.n_commits} commits: a cap of {COMMITS_PER_HOUR} an hour was seen on the public Hub; if it "
            f"holds for your account this takes {hours:.1f} hours (publishing waits and goes on)"
        )
    if len(plan.repos) > MANY_CELLS:
        notes.append(
            f"{len(plan.repos)} repos: the public Hub was seen to limit how many an account may make in a day; "
            "publishing stops there and goes on when it is run again"
        )
    for repo, n in Counter(target.repo for target in plan.targets for _ in target.files).items():
        if n > 100_000:
            notes.append(f"{repo}: {n} files; the Hub advises fewer than 100,000 in one repo")
    big = [file.tree_path for file in plan.iter_files() if file.entry.size_bytes > 200 * 10**9]
    if big:
        notes.append(f"{len(big)} files are larger than the 200 GB that the Hub advises: {big[0]} …")
    return notes


def plan_to_dict(plan: PublishPlan) -> dict[str, Any]:
    """Return the plan for ``--json``."""
    return {
        "study": plan.study,
        "version": plan.version,
        "reference": plan.reference,
        "layout": plan.layout,
        "reason": plan.reason,
        "n_repos": len(plan.repos),
        "repos": [str(repo) for repo in plan.repos],
        "n_cells": sum(len(target.cells) for target in plan.cell_targets),
        "n_commits": plan.n_commits,
        "n_files": plan.n_files,
        "n_bytes": plan.n_bytes,
        "requests": count_requests(plan),
        "n_api_requests": n_api_requests(plan),
        "least_seconds_by_tier": least_seconds(plan),
        "notes": limit_notes(plan),
    }


def _objects_by_repo(plan: PublishPlan) -> dict[Repo, dict[str, int]]:
    """Return repo → {sha256: size} of large files."""
    found: dict[Repo, dict[str, int]] = {}
    for target in plan.targets:
        for file in target.files:
            if counts_as_large(file):
                found.setdefault(target.repo, {})[file.entry.sha256] = file.entry.size_bytes
    return found


def _n_batches(objects: Mapping[str, int]) -> int:
    return max(math.ceil(len(objects) / BATCH_FILES), math.ceil(sum(objects.values()) / BATCH_BYTES))


def _window_seconds(n_requests: int, budget: int) -> float:
    return max(0, math.ceil(n_requests / budget) - 1) * WINDOW_S
