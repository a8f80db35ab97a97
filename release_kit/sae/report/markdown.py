"""The claims, and the shares that they rest on beside their nulls, as Markdown between two markers of a document."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from release_kit.core.files import write_atomic
from release_kit.sae.claims.curves import NULLS, Curves
from release_kit.sae.claims.estimate import t_interval
from release_kit.sae.claims.judge import StudyClaim, figure_text, named
from release_kit.sae.errors import SaeError

_SHARES = "Share of bilingual features beside its nulls: mean of layers, Student's interval over seeds."
BEGIN, END = "<!-- claims -->", "<!-- /claims -->"


def claims_markdown(claims: Sequence[StudyClaim]) -> str:
    """Return one line for each claim: verdict, the needed difference that speaks least for it, seeds."""
    lines = [
        "| claim | judged | verdict | least favourable needed difference | mean [95 %] | for/against/all | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for claim in claims:
        weakest, outcomes = claim.weakest, [one.outcome for one in claim.needed]
        said, value = (claim.why, "") if weakest is None else (named(weakest), figure_text(weakest))
        cells = (
            f"`{claim.name}`", claim.detail or f"by {claim.by}", claim.verdict, said, value,
            f"{outcomes.count('for')} / {outcomes.count('against')} / {len(outcomes)}", str(claim.n_seeds),
        )  # fmt: skip
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
    return "\n".join(lines)


def shares_markdown(curves: Mapping[str, Mapping[str, Curves]]) -> str:
    """Return one line for each size, measure and step: share of bilingual features and every null, mean of layers.

    Args:
        curves: measure (``count``, ``mass``) → size → shares.
    """
    nulls = [name for name in NULLS if any(name in one.nulls for by in curves.values() for one in by.values())]
    lines = [
        f"| size | by | step | bilingual [95 %] | {' | '.join(nulls)} | seeds |",
        f"|---|---|---|---|{'---|' * len(nulls)}---|",
    ]
    for by, sizes in curves.items():
        for size, one in sizes.items():
            for place, step in enumerate(one.steps):
                real, *under = (
                    shares[:, place].mean(1) if shares is not None else np.full(len(one.seeds), np.nan)
                    for shares in (one.real, *(one.nulls.get(name) for name in nulls))
                )  # fmt: skip
                beside = [_interval(shares) for shares in under]
                cells = (size, by, f"{step:,}", _interval(real), *beside, str(int(np.isfinite(real).sum())))
                lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
    return "\n".join(lines)


def _interval(values: "np.ndarray") -> str:
    mean, low, high, _ = t_interval(values[np.isfinite(values)])
    if not np.isfinite(mean):
        return "not measured"
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]" if np.isfinite(low) else f"{mean:.3f}"


def put_claims(
    path: Path, claims: Sequence[StudyClaim], curves: Mapping[str, Mapping[str, Curves]] | None = None
) -> None:
    """Put the tables between the markers of a document; what stood there goes.

    Args:
        path: of the document. claims: with their verdicts. curves: see ``shares_markdown``; none are shown without.

    Raises:
        SaeError: the document is not there, or has no such markers.
    """
    if not path.is_file():
        raise SaeError("there is no such file", where=str(path))
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SaeError(f"no {BEGIN} … {END}", where=str(path), next_step="put both where the table shall stand")
    shares = f"\n\n{_SHARES}\n\n{shares_markdown(curves)}" if curves else ""
    text = f"{before}{BEGIN}\n{claims_markdown(claims)}{shares}\n{END}{after}"
    write_atomic(path, text.encode("utf-8"), durable=False)
