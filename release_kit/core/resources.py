"""Where the folders that ship with release_kit are: ``dataset_cards`` and ``bids``.

They lie at the top of a checkout and inside ``release_kit/_data`` in a wheel. Found by path on purpose: an import by
name would find pybids' ``bids`` package.
"""

from importlib.abc import Traversable
from importlib.resources import files
from pathlib import Path

from release_kit.core.errors import ResourceError


def resource_root(name: str) -> Traversable:
    """Return the shipped folder ``name`` (``dataset_cards`` or ``bids``).

    Raises:
        ResourceError: the installation lacks it.
    """
    package = files("release_kit")
    packed = package.joinpath("_data").joinpath(name)
    if packed.is_dir():
        return packed
    checkout = Path(str(package)).parent
    if (checkout / "setup.cfg").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise ResourceError(
        f"the folder {name!r} that ships with release_kit is missing",
        where=str(package),
        next_step="install release-kit again",
    )
