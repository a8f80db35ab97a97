"""Verdicts: what the published study claims of its interventions, held against effects beside matched controls.

A claim is reproduced only where the class does better than random features of the same number and the same length.
p values of one claim are corrected together (Holm).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from release_kit.sae.intervene.effects import Effect

Verdict = Literal["reproduced", "not reproduced", "cannot be told"]
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim, its verdict, and the effects it rests on.

    Attributes:
        name: short.
        text: what is claimed.
        verdict: see the module.
        why: a sentence with the figures.
        effects: what was looked at.
    """

    name: str
    text: str
    verdict: Verdict
    why: str
    effects: tuple[Effect, ...]


def judge(name: str, text: str, effects: Sequence[Effect], *, level: float = LEVEL) -> Claim:
    """Return the verdict on a claim that all these effects lie below 0.

    Reproduced: every effect lies below 0, significant after Holm's correction over all of them. Not reproduced: at
    least one lies above 0, significant after it. Everything else cannot be told.

    Args:
        name: short.
        text: what is claimed.
        effects: differences that the claim says are negative, beside controls or other classes.
        level: of significance.
    """
    if not effects:
        return Claim(name=name, text=text, verdict="cannot be told", why="nothing was measured", effects=())
    adjusted = holm([one.p for one in effects])
    below = [one for one, p in zip(effects, adjusted, strict=True) if one.value < 0 and p <= level]
    above = [one for one, p in zip(effects, adjusted, strict=True) if one.value > 0 and p <= level]
    verdict: Verdict = "reproduced" if len(below) == len(effects) else "not reproduced" if above else "cannot be told"
    shown = max(effects, key=lambda one: one.value)
    why = (
        f"{len(below)} of {len(effects)} differences lie below 0 and {len(above)} above after Holm's correction; "
        f"the least favourable: {shown.name} beside {shown.beside or 'no intervention'} on {shown.kind} "
        f"{shown.value:+.4f} [{shown.low:+.4f}, {shown.high:+.4f}] nats per token"
    )
    return Claim(name=name, text=text, verdict=verdict, why=why, effects=tuple(effects))


def integration_claims(effects: Sequence[Effect], languages: tuple[str, str]) -> list[Claim]:
    """Return the verdicts on the claims about integration: for each variant and strength that was run.

    Args:
        effects: of `effects.effects`, with bilingual features held against each language's.
        languages: their codes, which name the classes of one language too.
    """
    claims = []
    for variant, strength in sorted({(one.variant, one.strength) for one in effects if one.variant != "ablate"}):
        mine = [one for one in effects if (one.variant, one.strength) == (variant, strength)]
        said = f"{variant}, strength {strength:g}"
        bilingual = [one for one in mine if one.name == "bilingual" and one.kind in languages]
        claims.append(
            judge(
                f"bilingual features help ({said})",
                "Putting a finished model's bilingual features into an earlier one lowers its loss in both languages "
                "more than random features of the same number and length do.",
                [one for one in bilingual if one.beside in ("count", "norm")],
            )
        )
        claims.append(
            judge(
                f"bilingual beyond one language ({said})",
                "Bilingual features lower the loss in both languages more than features of either language.",
                [one for one in bilingual if one.beside in languages],
            )
        )
        claims.append(
            judge(
                f"each language its own ({said})",
                "Features of one language lower the loss in that language more than random features do.",
                [one for one in mine if one.name == one.kind and one.beside in ("count", "norm")],
            )
        )
    return claims


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down procedure (Holm 1979), in the given order."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted
