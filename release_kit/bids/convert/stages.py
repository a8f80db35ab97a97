"""The three stages of a dataset (images, annotations, metadata) and what is known of each before it is made.

A stage whose identity is remembered knows the digests of its files without making them. Deciding and writing is
``run.py``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.bids.convert.contents import Content
from release_kit.bids.convert.identity import image_identity, source_files
from release_kit.bids.convert.images import beside_path
from release_kit.bids.convert.jobs import ImageJob
from release_kit.bids.convert.shift_secret import secret_identity
from release_kit.bids.convert.state import State
from release_kit.bids.convert.texts import annotation_sources
from release_kit.bids.recipe.model import Recipe
from release_kit.core.canonical import digest
from release_kit.core.digest_cache import DigestCache, digest_files, stamp_of
from release_kit.core.errors import ReleaseKitError


@dataclass
class TextStage:
    """Small files that are made together; ``make`` is called once, and only when their bytes are needed."""

    name: str
    identity: str | None
    """None while something that it is made from is not known yet."""
    make: Callable[[], dict[str, Content]]
    _made: dict[str, Content] | None = field(default=None, repr=False)

    def contents(self) -> dict[str, Content]:
        """Return path → content."""
        if self._made is None:
            self._made = self.make()
        return self._made

    def wanted(self, state: State) -> dict[str, str]:
        """Return path → sha256, from memory where the identity is remembered."""
        if self._made is None and self.identity in state.stages:
            return dict(state.stages[self.identity]["outputs"])
        return {path: content.sha256 for path, content in self.contents().items()}


def known_identities(jobs: Iterable[ImageJob], cache: DigestCache, code: str) -> dict[str, str | None]:
    """Return target → identity of each image whose sources are remembered, None for the others; no file is read."""
    return {job.target: _known_identity(job, cache, code) for job in jobs}


def _known_identity(job: ImageJob, cache: DigestCache, code: str) -> str | None:
    digests = []
    for path in source_files(job):
        found = cache.lookup(stamp_of(path.stat()))
        if found is None:
            return None
        digests.append((path.name, found.size_bytes, found.sha256))
    return image_identity(job, digests, code)


def annotation_identity(recipe: Recipe, said: str, cache: DigestCache, code: str) -> str:
    """Return the identity of everything that follows from annotations.

    Args:
        recipe: the study, with annotations where they lie.
        said: ``recipe_digest``.
        cache: remembered digests.
        code: ``text_code``.
    """
    from release_kit.bids.convert.texts import media_sources

    sources = [*annotation_sources(recipe), *media_sources(recipe)]
    return digest({"annotations": _digests(sources, cache), "recipe": said, "code": code})


def metadata_identity(
    recipe: Recipe,
    jobs: Iterable[ImageJob],
    identities: Mapping[str, str | None],
    said: str,
    cache: DigestCache,
    code: str,
) -> str | None:
    """Return the identity of the describing files, None while that of an image is not known."""
    if any(identity is None for identity in identities.values()):
        return None
    beside = [(job.target, path) for job in jobs if (path := beside_path(job)) is not None]
    parts = {"images": sorted(identities.items()), "beside": _digests(beside, cache), "key": _key_digest(recipe)}
    return digest({"metadata": parts, "recipe": said, "code": code})


def _key_digest(recipe: Recipe) -> str | None:
    """Return the identity of the secret of the date shift."""
    return secret_identity(recipe.folder / recipe.privacy.shift_key) if recipe.privacy.shift_key else None


def _digests(named: list[tuple[str, Path]], cache: DigestCache) -> list[list[Any]]:
    found = []
    for (name, _), outcome in zip(
        named, digest_files([path for _, path in named], cache=cache, tensors=False, git=False), strict=True
    ):
        if isinstance(outcome, ReleaseKitError):
            raise outcome
        found.append([name, outcome.sha256])
    return found
