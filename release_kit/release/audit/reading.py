"""Listing what a Hub holds: the branches of each repo and the files of each commit, nothing twice."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from release_kit.core.errors import HubError, ReleaseKitError, UnsafePathError
from release_kit.core.hashing import map_ordered
from release_kit.hub.client import HubClient
from release_kit.hub.errors import UnreachableError
from release_kit.hub.reference import Reference, Repo, parse_reference
from release_kit.hub.remote import RemoteFile
from release_kit.release.audit.finding import Finding
from release_kit.release.audit.units import Listing

_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def parse_targets(client: HubClient, targets: Sequence[str]) -> list[Reference]:
    """Return the repos that the targets name; an account stands for all its models.

    Raises:
        UsageError: a target is neither a repo nor an account, or an account has no models.
    """
    found: dict[tuple[Repo, str | None], Reference] = {}
    for target in targets:
        if _NAMESPACE.fullmatch(target):
            repos = client.list_repos(target)
            if not repos:
                step = "name a repo as namespace/name, a dataset as datasets/namespace/name"
                raise HubError(f"{target} has no models there", next_step=step)
            references = [Reference(repo) for repo in repos]
        else:
            references = [parse_reference(target)]
        found |= {(one.repo, one.revision): one for one in references}
    return list(found.values())


def list_everything(
    client: HubClient,
    references: Sequence[Reference],
    options: Any,
    on_stage: Callable[[str, int], None],
    on_done: Callable[[], None],
) -> tuple[list[Listing], list[Finding]]:
    """Return a listing for every branch (and tag) of every repo; what could not be listed becomes a finding.

    Branches at one commit share one request.
    """
    on_stage("listing branches", len(references))

    def refs(reference: Reference) -> list[tuple[Repo, str, str]]:
        found = _revisions(client, reference, options.tags)
        on_done()
        return found

    wanted = [item for found in map_ordered(refs, references, options.workers) for item in found]
    commits = list(dict.fromkeys((repo, commit) for repo, _, commit in wanted))
    names = {(repo, commit): name for repo, name, commit in reversed(wanted)}
    on_stage("listing files", len(commits))

    def tree(key: tuple[Repo, str]) -> tuple[RemoteFile, ...] | ReleaseKitError:
        try:
            return tuple(client.list_tree(*key))
        except UnreachableError:
            raise
        except (HubError, UnsafePathError) as error:
            return error
        finally:
            on_done()

    trees = dict(zip(commits, map_ordered(tree, commits, options.workers), strict=True))
    listings = [
        Listing(repo=repo, revision=name, commit=commit, files=trees[repo, commit])
        for repo, name, commit in wanted
        if isinstance(trees[repo, commit], tuple)
    ]
    problems = [
        _unreadable(f"{repo}@{names[repo, commit]}", outcome)
        for (repo, commit), outcome in trees.items()
        if isinstance(outcome, ReleaseKitError)
    ]
    return listings, problems


def _revisions(client: HubClient, reference: Reference, with_tags: bool) -> list[tuple[Repo, str, str]]:
    """Return ``(repo, name, commit)`` of the branches, and of tags that no branch stands at."""
    repo = reference.repo
    if reference.revision is not None:
        return [(repo, reference.revision, client.resolve(repo, reference.revision))]
    refs = client.list_refs(repo)
    branches = dict(refs.branches)
    if with_tags:
        taken = set(branches.values())
        branches |= {name: commit for name, commit in refs.tags.items() if commit not in taken and name not in branches}
    return [(repo, name, commit) for name, commit in sorted(branches.items())]


def _unreadable(where: str, error: ReleaseKitError) -> Finding:
    kind = "cannot be listed" if isinstance(error, HubError) else "is not safe to list"
    return Finding(
        code="unreadable",
        severity="error",
        where=where,
        what=f"{kind}: {error.what}",
        next_step="look at the repo with a browser; nothing is claimed about it here",
    )
