"""The cards of a release made by others: licence, base model, numbers and where they come from.

Reads front matter only (``facts.py`` fetched it); what a text says between the lines is for people.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from release_kit.release.audit.facts import ADAPTER_CONFIG, CARD, FactBook, Facts
from release_kit.release.audit.finding import Finding, some
from release_kit.release.audit.units import MAIN, Listing, Unit, address_of

_TUNED_TAGS = {"lora", "peft", "sft", "dpo", "fine-tuned", "finetuned", "finetune", "instruction-tuned", "adapter"}
_TUNED_LIBRARIES = {"peft", "trl"}


def check_cards(listings: Sequence[Listing], units: Sequence[Unit], facts: FactBook) -> list[Finding]:
    """Return what is missing from the cards: each repo's own, and every different one on its branches and folders."""
    adapters = {unit.address: unit for unit in units if unit.file(ADAPTER_CONFIG)}
    with_weights = {unit.listing.repo for unit in units}
    findings: list[Finding] = []
    for listing in listings:
        has_card = any(file.path == CARD for file in listing.files)
        if listing.revision == MAIN and not has_card and listing.repo in with_weights:
            findings.append(_found("card-missing", "warning", address_of(listing), "there is no README.md", _WRITE))
    for place, card, n_places in _distinct_cards(listings, facts):
        more = f" (the same card in {n_places} places)" if n_places > 1 else ""
        findings += _card(place, card, more, adapters.get(place))
    return _merged(findings)


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Make one finding of those that say the same of many cards of one repo."""
    groups: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.code, finding.severity, finding.where.partition("@")[0]].append(finding)
    merged = []
    for (_, _, repo), group in groups.items():
        first = group[0]
        if len(group) > 1:
            places = tuple(finding.where for finding in group)
            what = f"{len(group)} different cards: {first.what} ({some(places)})"
            first = replace(first, where=repo, what=what, members=places, counts={"n_cards": len(group)})
        merged.append(first)
    return merged


_WRITE = "write a card: licence, base model, data, and where the numbers come from"


def _distinct_cards(listings: Iterable[Listing], facts: FactBook) -> Iterable[tuple[str, Facts, int]]:
    """Yield ``(first place, card, number of places)`` for every different card; main first."""
    places: dict[str, list[str]] = defaultdict(list)
    cards: dict[str, Facts] = {}
    for listing in sorted(listings, key=lambda one: (str(one.repo), one.revision != MAIN, one.revision)):
        for file in listing.files:
            card = facts.of(file) if file.path.rsplit("/", 1)[-1] == CARD else None
            if card is not None:
                key = f"{listing.repo} {file.identity}"
                cards[key] = card
                places[key].append(address_of(listing, file.path.rpartition("/")[0]))
    for key, card in cards.items():
        yield places[key][0], card, len(places[key])


def _card(place: str, card: Facts, more: str, adapter: Unit | None) -> Iterable[Finding]:
    if card.problem:
        yield _found("card-invalid", "warning", place, f"{card.problem}{more}", "repair the front matter")
        return
    is_folder = ":" in place.partition("@")[2]
    if not card.front and is_folder:
        return
    if not card.front.get("license"):
        yield _found("license-missing", "warning", place, f"the card names no licence{more}", "add `license:`")
    if not place.startswith("datasets/"):
        yield from _base_model(place, card, more, adapter)
    n_sourceless, n_numbers = _sourceless(card.front.get("model-index"))
    if n_sourceless and not card.traced:
        what = f"{n_sourceless} of {n_numbers} numbers in the model-index name no source{more}"
        yield _found("number-without-source", "warning", place, what, "add `source:` with the results file of each")


def _base_model(place: str, card: Facts, more: str, adapter: Unit | None) -> Iterable[Finding]:
    named = card.front.get("base_model")
    if not named:
        severity = "warning" if adapter is not None or _is_tuned(card.front) else "note"
        what = f"the card names no base model{more}"
        yield _found("base-model-missing", severity, place, what, "add `base_model:`, unless trained from nothing")


def check_adapters(units: Iterable[Unit], facts: FactBook) -> list[Finding]:
    """Return adapters whose config and card name different base models."""
    findings = []
    for unit in units:
        config, card = facts.of(unit.file(ADAPTER_CONFIG)), facts.of(unit.file(CARD))
        if config is None or card is None:
            continue
        named = card.front.get("base_model")
        listed = [name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str)]
        if listed and config.base_model and config.base_model not in listed:
            what = f"the card names {listed[0]!r} as base model, {ADAPTER_CONFIG} names {config.base_model!r}"
            step = "name the base model that the adapter was trained on in both"
            findings.append(_found("base-model-disagrees", "warning", unit.address, what, step))
    return findings


def _is_tuned(front: Mapping[str, Any]) -> bool:
    tags = front.get("tags")
    # Texts only: anything else may be an alias of aliases, short in YAML and endless as text.
    words = {tag.lower() for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()
    library = front.get("library_name")
    return bool(words & _TUNED_TAGS) or (isinstance(library, str) and library.lower() in _TUNED_LIBRARIES)


def _sourceless(models: Any) -> tuple[int, int]:
    """Return how many numbers of a model-index name no source, and how many there are."""
    n_without = n_numbers = 0
    for model in models if isinstance(models, list) else []:
        results = model.get("results") if isinstance(model, dict) else None
        for result in results if isinstance(results, list) else []:
            metrics = result.get("metrics") if isinstance(result, dict) else None
            n = len(metrics) if isinstance(metrics, list) else 0
            n_numbers += n
            n_without += 0 if isinstance(result, dict) and result.get("source") else n
    return n_without, n_numbers


def _found(code: str, severity: str, where: str, what: str, step: str) -> Finding:
    return Finding(code=code, severity=severity, where=where, what=what, next_step=step)
