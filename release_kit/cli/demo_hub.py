"""A local Hub that runs as long as a demo needs it, in this process, on a free port of the loopback address."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from release_kit.core.errors import MissingExtraError


@contextlib.contextmanager
def local_hub(root: Path) -> Iterator[str]:
    """Run a local Hub over ``root`` and give its address.

    Raises:
        MissingExtraError: the extra ``hub`` is not installed.
    """
    try:
        from release_kit.hub.server import LocalHub
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "starlette", "hub") from error
    with LocalHub(root=root, port=0) as hub:
        yield hub.endpoint
