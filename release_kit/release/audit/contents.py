"""What lies in one place: shards and their index, empty files, pickles, labels that files beside the weights deny."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from release_kit.release.audit.facts import CARD, INDEX_SUFFIX, TRAINER_STATE, FactBook
from release_kit.release.audit.finding import Finding, some
from release_kit.release.audit.numbers import Series, parse_label, series_words
from release_kit.release.audit.payloads import label_order
from release_kit.release.audit.units import Unit, WeightSet

_POINTER_BYTES = range(100, 200)
"""A Git LFS pointer is a text of about 130 bytes."""

_ENOUGH = 4


def check_shards(units: Iterable[Unit], facts: FactBook) -> list[Finding]:
    """Return missing shards, indexes that disagree with what is there, and empty weights."""
    findings: list[Finding] = []
    for unit in units:
        for one in unit.sets:
            findings += _shards(unit, one)
            findings += _index(unit, one, facts)
            findings += _empty(unit, one)
    return findings


def _shards(unit: Unit, one: WeightSet) -> Iterable[Finding]:
    if missing := one.missing_shards:
        what = f"{len(missing)} of {len(one.files) + len(missing)} shards of {one.stem} are missing: {some(missing)}"
        if len(one.totals) > 1:
            what = (
                f"the shards of {one.stem} count to {some([str(n) for n in sorted(one.totals)])}: mixed uploads; {what}"
            )
        yield _error("missing-shard", unit, what, "upload the missing shards", missing)


def _index(unit: Unit, one: WeightSet, facts: FactBook) -> Iterable[Finding]:
    name = one.stem + INDEX_SUFFIX
    index = unit.file(name)
    if index is None:
        if one.totals and max(one.totals) > 1:
            what = f"{len(one.files)} shards of {one.stem} and no {name}"
            yield _warning("index-missing", unit, what, "save the checkpoint again with its index")
        return
    said = facts.of(index)
    if said is None:
        return
    if said.problem:
        yield _error("unreadable", unit, f"{name} {said.problem}", "save the checkpoint again")
        return
    there = {file.path for file in one.files}
    absent = sorted(said.shards - there - set(one.missing_shards))
    unnamed = sorted(there - said.shards)
    if absent or unnamed:
        parts = [f"names {some(absent)}, not there"] if absent else []
        parts += [f"does not name {some(unnamed)}"] if unnamed else []
        what = f"{name} {' and '.join(parts)}"
        yield _error("index-disagrees", unit, what, "upload index and shards of one save together", (*absent, *unnamed))
    elif not (one.is_pickle or one.missing_shards) and one.size_bytes < (said.total_size or 0):
        what = f"the shards have {one.size_bytes:,} bytes, {name} says {said.total_size:,} of tensors alone"
        yield _error("index-size", unit, what, "upload the shards again: one is cut off or of another save")


def _empty(unit: Unit, one: WeightSet) -> Iterable[Finding]:
    for file in one.files:
        pointer = file.lfs_sha256 is None and file.size_bytes in _POINTER_BYTES and one.stem.endswith(".safetensors")
        if not file.size_bytes:
            yield _error("empty-weights", unit, f"{file.path} has no bytes", "upload it again")
        elif pointer and sum(f.size_bytes for f in one.files) < 1000 * len(one.files):
            what = f"{file.path} has {file.size_bytes} bytes and is no large file: a Git LFS pointer kept as text?"
            yield _warning("empty-weights", unit, what, "upload the file itself")


def check_formats(units: Sequence[Unit]) -> list[Finding]:
    """Return the repos whose weights are there as pickles only, one finding for each repo."""
    repos: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        repos[str(unit.listing.repo)].append(unit)
    findings = []
    for repo, own in sorted(repos.items()):
        pickled = [unit for unit in own if all(one.is_pickle for one in unit.sets)]
        if not pickled:
            continue
        addresses = tuple(sorted((unit.address for unit in pickled), key=label_order))
        findings.append(
            Finding(
                code="pickle-only",
                severity="warning",
                where=repo if len(pickled) > 1 else addresses[0],
                what=f"weights as pickles only in {len(pickled)} of {len(own)} places: {some(addresses)}",
                next_step="convert to safetensors: loading a pickle runs the code in it",
                members=addresses,
                counts={"n_pickled": len(pickled), "n_places": len(own)},
            )
        )
    return findings


def check_labels(units: Sequence[Unit], series: Iterable[Series], facts: FactBook) -> list[Finding]:
    """Return labels that a trainer state, a card or the label's own other number contradicts."""
    shared = Counter(file.identity for unit in units for file in unit.files)
    findings = [one for unit in units for one in _denied(unit, facts, shared)]
    return findings + [one for found in series for one in _outliers(found)]


def _denied(unit: Unit, facts: FactBook, shared: Counter) -> Iterable[Finding]:
    numbers = _worded_numbers(unit.address.partition("@")[2] if not unit.is_alias else unit.address.partition("@")[0])
    state = facts.of(unit.file(TRAINER_STATE))
    said = numbers.get("step") or numbers.get("checkpoint")
    if state and state.step is not None and said and state.step not in said:
        what = f"the label says step {_listed(said)}, its {TRAINER_STATE} says step {state.step}"
        yield _error("label-disagrees", unit, what, "find out which is right before anyone uses it")
    epochs = numbers.get("epoch")
    if state and state.epoch is not None and epochs and not any(abs(state.epoch - one) <= 0.01 for one in epochs):
        what = f"the label says epoch {_listed(epochs)}, its {TRAINER_STATE} says epoch {state.epoch:g}"
        yield _error("label-disagrees", unit, what, "find out which is right before anyone uses it")
    for name in (CARD, "config.json"):
        file = unit.file(name)
        known = facts.of(file)
        # A card or config that many labels share speaks of none of them.
        if known is None or shared[file.identity] > 1:
            continue
        for text in (known.heading, known.name_or_path, *_index_names(known.front)):
            for word, values in _worded_numbers(text).items():
                own = numbers.get(word)
                if own and not own & values:
                    said = f"its {name} says {word} {_listed(values)} ({text[:80]!r})"
                    what = f"the label says {word} {_listed(own)}, {said}"
                    yield _warning("label-disagrees", unit, what, "find out which is right")


def _index_names(front) -> list[str]:
    models = front.get("model-index")
    named = [one.get("name") for one in models if isinstance(one, dict)] if isinstance(models, list) else []
    return [name for name in named if isinstance(name, str)]


def _worded_numbers(text: str) -> dict[str, set[float]]:
    """Return ``{"step": {3000}}`` of ``run/step3000``: numbers after a word that counts training."""
    label = parse_label(text)
    found: dict[str, set[float]] = {}
    for word, value in zip(series_words(label.skeleton), label.values, strict=True):
        for known in ("step", "checkpoint", "epoch"):
            if re.fullmatch(rf"(global_?)?{known}s?", word):
                found.setdefault(known, set()).add(value)
    return found


def _outliers(one: Series) -> Iterable[Finding]:
    """Judge ``stage1-step101000-tokens424B``: tokens per step must be the same in all labels of a run."""
    n_attributes = max((len(numbers) for numbers in one.attributes.values()), default=0)
    for column in range(n_attributes):
        points = [(value, address, *one.attributes[address][column]) for value, address in one.members.items() if value]
        if len(points) < _ENOUGH:
            continue
        slope = median(other / value for value, _, other, _ in points)
        odd = [
            (address, round(slope * value), other)
            for value, address, other, rounding in points
            if abs(other - slope * value) > rounding + 0.02 * slope * value
        ]
        if len(odd) > 0.2 * len(points):
            continue
        for address, expected, other in odd:
            what = f"the label's second number is {other:,}; by its sibling labels it should be near {expected:,}"
            yield Finding(
                code="label-outlier",
                severity="error",
                where=address,
                what=what,
                next_step="find out which of the two numbers is right",
                members=(address,),
            )


def _listed(values: Iterable[float]) -> str:
    return " or ".join(str(int(v)) if float(v).is_integer() else str(v) for v in sorted(values))


def _error(code: str, unit: Unit, what: str, step: str, members: Iterable[str] = ()) -> Finding:
    return Finding(code=code, severity="error", where=unit.address, what=what, next_step=step, members=tuple(members))


def _warning(code: str, unit: Unit, what: str, step: str) -> Finding:
    return Finding(code=code, severity="warning", where=unit.address, what=what, next_step=step)
