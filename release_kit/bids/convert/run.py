"""Conversion: recipe and sources → dataset, as often as one likes, with the same bytes each time.

Decides everything before it writes anything; writes images first; gives ``dataset_description.json`` its name last,
when nothing identifying was found; never touches what it did not write. What it knows from before is ``state.py``, what
belongs into the dataset ``stages.py``.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.bids.convert.contents import Content
from release_kit.bids.convert.decide import Decision, decide, refusal
from release_kit.bids.convert.foreign import committed, refuse_foreign_changes, uncommitted
from release_kit.bids.convert.identity import image_code, recipe_digest, text_code
from release_kit.bids.convert.jobs import ImageJob, plan_images
from release_kit.bids.convert.last_files import LAST, drop_waiting, place_last, waiting_place, withdraw_last
from release_kit.bids.convert.making import ImageMaker
from release_kit.bids.convert.metadata import SEEDS, metadata_outputs
from release_kit.bids.convert.presence import contents, held, leftovers
from release_kit.bids.convert.shift_secret import check_secret, remember_secret
from release_kit.bids.convert.sources import described_later
from release_kit.bids.convert.stages import TextStage, annotation_identity, known_identities, metadata_identity
from release_kit.bids.convert.state import State, state_folder
from release_kit.bids.convert.texts import annotation_outputs, is_of_annotations, with_annotation_root
from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recordings.kept import kept_folder
from release_kit.core.digest_cache import DigestCache, default_cache_path
from release_kit.core.errors import IntegrityError, ReleaseKitError
from release_kit.core.files import write_error

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class ConvertReport:
    """What a conversion did; paths inside the dataset, sorted."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    seconds: float
    problems: tuple[str, ...] = ()
    """What the user should look at; nothing that stopped the conversion."""
    pictures: Path | None = None
    """Folder with the pictures of defacing, for review."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {
            "written": list(self.written), "n_unchanged": len(self.unchanged), "removed": list(self.removed),
            "seconds": round(self.seconds, 3), "problems": list(self.problems),
            "pictures": str(self.pictures) if self.pictures else None,
        }  # fmt: skip


def convert(
    recipe: Recipe,
    out: Path,
    *,
    workers: int | None = None,
    only: str | None = None,
    take_over: bool = False,
    on_event: Say | None = None,
) -> ConvertReport:
    """Make ``out`` the dataset that ``recipe`` describes; what is right already is not touched.

    Args:
        recipe: the study.
        out: folder of the dataset; it may exist.
        workers: processes for images; None: one for each core.
        only: ``annotations``: only what follows from annotations, recordings are not looked at.
        take_over: what is committed in the dataset's git may be replaced although nobody remembers that conversion
            wrote it (a clone on another machine); git keeps what was there.
        on_event: told what happens: ``{"event": "checked" | "planned" | "image" | "files" | "leaks", …}``.

    Raises:
        StudyError: the recipe contradicts the recordings, or ``out`` holds something that conversion did not write, or
            somebody's uncommitted changes; everything at once, and nothing was written.
        ReleaseKitError: a recording is damaged, or the disk is full; run again to continue.
        IntegrityError: something identifying is in the dataset; the files are named.
    """
    started = time.monotonic()
    folder = state_folder(recipe.folder, out)
    with held(out), State(folder, out) as state, DigestCache(default_cache_path()) as cache, kept_folder() as kept:
        conversion = _Conversion(
            recipe=recipe, out=out, state=state, cache=cache, folder=folder, only=only, take_over=take_over,
            workers=workers, kept=kept, say=on_event or (lambda event: None),
        )  # fmt: skip
        conversion.run()
    return conversion.report(time.monotonic() - started)


@dataclass(kw_only=True)
class _Conversion:
    recipe: Recipe
    out: Path
    state: State
    cache: DigestCache
    only: str | None
    take_over: bool
    workers: int | None
    kept: Path
    """Folder of DICOM series that were converted to look at their headers."""
    folder: Path
    say: Say
    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    holds: dict[str, str] = field(default_factory=dict)
    """Path → sha256 of what is conversion's own when it ends."""

    def run(self) -> None:
        for path in leftovers(self.out):
            path.unlink(missing_ok=True)
        self.annotated = with_annotation_root(self.recipe, self.out)
        self.said = recipe_digest(self.recipe)
        self.jobs = [] if self.only else self._jobs()
        self._check()
        if not self.only:
            check_secret(self.recipe, self.out, self.state)
        self._plan()
        if not self.only:
            self._make_images()
            self._plan_texts()
        try:
            self._write_texts()
            self._remove(self.decision)
            self._finish()
        finally:
            drop_waiting(self.out, self.state)

    def _jobs(self) -> list[ImageJob]:
        try:
            return plan_images(self.recipe, pictures=self.folder / "defaced")
        except ReleaseKitError:
            from release_kit.bids.recipe.check import check_recipe

            check_recipe(self.recipe).refuse()  # says everything that is wrong, not the first thing only
            raise

    def _check(self) -> None:
        """Hold the recipe against the recordings, unless exactly this was found good before."""
        if self.only:
            return
        from release_kit.bids.convert.checked import check_before

        self.facts = check_before(self.recipe, self.annotated, self.jobs, self.state, self.said, self.say, self.kept)

    def _plan(self) -> None:
        """Decide about every path; refuse before anything is written."""
        self.identities = known_identities(self.jobs, self.cache, image_code())
        annotated = annotation_identity(self.annotated, self.said, self.cache, text_code())
        self.stages = [TextStage("annotations", annotated, lambda: annotation_outputs(self.annotated))]
        if not self.only:
            self.stages.append(self._metadata_stage())
        wanted: dict[str, str | None] = {job.target: self._known(job) for job in self.jobs}
        for stage in self.stages:
            wanted |= stage.wanted(self.state)
        self.later = described_later(self.jobs, self.state, self.identities)
        wanted |= dict.fromkeys(self.later, None)
        self.there = contents(self.out, sorted(wanted.keys() | self.state.owned.keys()), self.cache)
        self._refuse_uncommitted(wanted)
        owned = {p: s for p, s in self.state.owned.items() if not self.only or is_of_annotations(p)}
        self.decision = decide(wanted, self.there, owned, SEEDS)
        if self.decision.refused:
            raise refusal(self.decision.refused, str(self.out))
        self.say({"event": "planned", "n_write": len(self.decision.write), "n_unchanged": len(self.decision.unchanged)})

    def _refuse_uncommitted(self, wanted: Mapping[str, str | None]) -> None:
        """Refuse what somebody has not committed yet; take over what is committed, where that was asked for."""
        changed = uncommitted(self.out)
        if self.take_over:
            for path in sorted(self.there.keys() & set(committed(self.out)) - set(changed)):
                self.state.own(path, self.there[path])
        ours = {p: self.state.owned.get(p, set()) | {wanted.get(p)} for p in wanted.keys() | self.state.owned.keys()}
        refuse_foreign_changes(self.out, changed, self.there, ours)

    def _known(self, job: ImageJob) -> str | None:
        stage = self.state.stages.get(self.identities[job.target] or "")
        return stage["sha256"] if stage else None

    def _make_images(self) -> None:
        maker = ImageMaker(
            out=self.out, state=self.state, cache=self.cache, there=self.there, say=self.say, kept=self.kept
        )
        needed = {*self.decision.write, *self.decision.unsure}
        jobs = [job for job in self.jobs if job.target in needed]
        unsure = [job for job in jobs if job.target in self.decision.unsure]
        maker.make(unsure, self.workers, place=False)
        maker.make([job for job in jobs if job not in unsure], self.workers, place=True)
        self.written += maker.written
        self.unchanged += maker.unchanged + [j.target for j in self.jobs if j.target in self.decision.unchanged]
        self.identities |= maker.identities
        for job in self.jobs:
            self.holds[job.target] = self.state.stages[self.identities[job.target]]["sha256"]
            self.state.own(job.target, self.holds[job.target])
            self.state.mark(f"image:{job.target}", self.identities[job.target])

    def _metadata_stage(self) -> TextStage:
        identity = metadata_identity(self.recipe, self.jobs, self.identities, self.said, self.cache, text_code())
        return TextStage("metadata", identity, self._metadata)

    def _metadata(self) -> dict[str, Content]:
        from release_kit.bids.convert.sources import extras_of, facts_of

        facts = facts_of(self.jobs, self.facts, self.state, self.identities)
        extras = extras_of(self.jobs, self.state, self.identities)
        known = [job for job in self.jobs if job.target in facts or job.role == "derivative"]
        return metadata_outputs(self.recipe, known, facts, extras, self.out)

    def _plan_texts(self) -> None:
        """Images are made: now everything that describes them is known, and people may have been at work meanwhile."""
        if self.stages[-1].identity is None or self.later:
            self.stages[-1] = self._metadata_stage()
        wanted = {path: sha256 for stage in self.stages for path, sha256 in stage.wanted(self.state).items()}
        there = contents(self.out, wanted, self.cache)
        found = decide(wanted, there, {p: s for p, s in self.state.owned.items() if p in wanted}, SEEDS)
        if found.refused:
            raise refusal(found.refused, str(self.out))

    def _write_texts(self) -> None:
        wanted = {path: sha256 for stage in self.stages for path, sha256 in stage.wanted(self.state).items()}
        there = contents(self.out, wanted, self.cache)
        missing = {p for p, sha256 in wanted.items() if p not in there or (there[p] != sha256 and p not in SEEDS)}
        for stage in self.stages:
            paths = sorted(missing & stage.wanted(self.state).keys())
            made = stage.contents() if paths else {}
            for path in paths:
                self.state.own(path, wanted[path])
                made[path].write(self.out / waiting_place(path))
            self.written += paths
        self.unchanged += [path for path in wanted if path not in missing]
        self.holds |= {
            path: sha256 for path, sha256 in wanted.items() if path not in SEEDS or there.get(path, sha256) == sha256
        }
        for stage in self.stages:
            self.state.made(stage.identity, {"outputs": stage.wanted(self.state)})
        self.say({"event": "files", "n": len(missing)})

    def _remove(self, decision: Decision) -> None:
        now = contents(self.out, decision.remove, self.cache)
        changed = [path for path in decision.remove if now.get(path) not in (None, self.there[path])]
        for path in (path for path in decision.remove if path not in changed):
            try:
                (self.out / path).unlink(missing_ok=True)
            except OSError as error:
                raise write_error(self.out / path, error) from error
            self.state.disown(path)
            _remove_empty(self.out, (self.out / path).parent)
            self.removed.append(path)
        for path in decision.gone:
            self.state.disown(path)
        self.problems += [
            f"{path}: no longer in the recipe, but changed since conversion wrote it: it was left there"
            for path in sorted([*decision.keep, *changed])
        ]

    def _finish(self) -> None:
        from release_kit.bids.convert.last_look import check_leaks

        used = {identity for identity in self.identities.values() if identity} | {s.identity for s in self.stages}
        if not self.only:
            remember_secret(self.recipe, self.out, self.state)
        try:
            self.problems += check_leaks(self.recipe, self.out, self.holds, self.state, self.say)
        except IntegrityError:
            withdraw_last(self.out, self.state)
            raise
        place_last(self.out, self.holds)
        if self.only and not os.path.lexists(self.out / LAST):
            self.problems.append(f"{LAST} is not there: this is no dataset before everything is converted")
        if not self.only:  # else what is known of the other parts stays as it is
            self.state.finish(used, self.holds)

    def report(self, seconds: float) -> ConvertReport:
        pictures = self.folder / "defaced"
        return ConvertReport(
            written=tuple(sorted(self.written)),
            unchanged=tuple(sorted(set(self.unchanged))),
            removed=tuple(sorted(self.removed)),
            seconds=seconds,
            problems=tuple(self.problems),
            pictures=pictures if pictures.is_dir() else None,
        )


def _remove_empty(out: Path, folder: Path) -> None:
    """Remove folders that hold nothing any more, up to the dataset itself."""
    while folder != out and out in folder.parents:
        try:
            os.rmdir(folder)
        except OSError:
            return
        folder = folder.parent
