"""The claims as a table for Markdown, put between two markers of a document."""

from collections.abc import Sequence
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.sae.claims.judge import StudyClaim, figure_text, named
from release_kit.sae.errors import SaeError

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


def put_claims(path: Path, claims: Sequence[StudyClaim]) -> None:
    """Put the table between the markers of a document; what stood there goes.

    Raises:
        SaeError: the document is not there, or has no such markers.
    """
    if not path.is_file():
        raise SaeError("there is no such file", where=str(path))
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SaeError(f"no {BEGIN} … {END}", where=str(path), next_step="put both where the table shall stand")
    text = f"{before}{BEGIN}\n{claims_markdown(claims)}\n{END}{after}"
    write_atomic(path, text.encode("utf-8"), durable=False)
