"""``python -m release_kit`` is ``release-kit``."""

from release_kit.cli import main

main()
