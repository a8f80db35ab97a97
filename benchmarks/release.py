"""All benchmarks of the release loop, one after the other: verify, publish, and build with check and cards.

    python benchmarks/release.py [--small]

Each part also runs alone (``release_verify.py``, ``release_publish.py``, ``release_build.py``) and says what it is
compared with. Ways take turns inside a part; nothing else should be running. Recorded figures are in ``docs/log.md``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

PARTS = {
    "release_verify.py": ["--small", "--rounds", "1"],
    "release_publish.py": ["--cells", "40", "--rounds", "1"],
    "release_build.py": ["--cells", "80", "--runs", "1"],
}
"""Part → what makes it short enough to try it out."""


def main() -> int:
    """Run every part; return 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a short run of everything, to try it out")
    options = parser.parse_args()
    failed = []
    for part, short in PARTS.items():
        print(f"== {part}", flush=True)
        command = [sys.executable, str(Path(__file__).parent / part), *(short if options.small else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(part)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
