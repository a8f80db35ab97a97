"""Fixtures of versioning: a saved dataset and its siblings, made once and copied for each test that damages them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from versioning_factory import AUTHOR, DATE, UNNAMED, copied, make_dataset, writable

from release_kit.bids.versioning.save import save_version
from release_kit.bids.versioning.siblings import publish_dataset


@pytest.fixture(scope="session", autouse=True)
def no_git_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run without the git settings of whoever runs the tests: nobody is named as an author."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def saved_once(tmp_path_factory: pytest.TempPathFactory, no_git_of_the_user: None) -> Path:
    """A dataset saved as 1.0.0; never changed."""
    folder = make_dataset(tmp_path_factory.mktemp("saved") / "dataset")
    save_version(folder, version="1.0.0", author=AUTHOR, date=DATE)
    return folder


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the saved dataset for one test."""
    folder = copied(saved_once, tmp_path / "dataset")
    yield folder
    writable(tmp_path)


@pytest.fixture(scope="session")
def siblings_once(saved_once: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind → sibling of the saved dataset, made when first asked for; never changed."""
    return _Published(saved_once, tmp_path_factory.mktemp("siblings"))


@pytest.fixture
def siblings(siblings_once: dict[str, Path], tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Copies of the siblings for one test, copied when first asked for."""
    yield _Copies(siblings_once, tmp_path)
    writable(tmp_path)


class _Published(dict):
    def __init__(self, dataset: Path, folder: Path):
        super().__init__()
        self._dataset, self._folder = dataset, folder

    def __missing__(self, kind: str) -> Path:
        dataset = copied(self._dataset, self._folder / f"dataset-{kind}")
        publish_dataset(dataset, kind, self._folder / kind, alias="films" if kind == "ria" else None,
                        search=UNNAMED)  # fmt: skip
        self[kind] = self._folder / kind
        return self[kind]


class _Copies(dict):
    def __init__(self, source: dict[str, Path], folder: Path):
        super().__init__()
        self._source, self._folder = source, folder

    def __missing__(self, kind: str) -> Path:
        self[kind] = copied(self._source[kind], self._folder / "siblings" / kind)
        return self[kind]
