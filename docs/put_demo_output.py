"""Put the output of a real ``release-kit demo`` between the markers of README.md (called by ``make readme``)."""

import sys
from pathlib import Path

BEGIN, END = "<!-- demo output -->", "<!-- /demo output -->"


def put(readme: str, output: str) -> str:
    """Return ``readme`` with ``output`` as a code block between the markers."""
    before, _, rest = readme.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise SystemExit(f"README.md holds no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n```text\n{output.strip()}\n```\n{END}{after}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(put(target.read_text(encoding="utf-8"), Path(sys.argv[2]).read_text(encoding="utf-8")), "utf-8")
