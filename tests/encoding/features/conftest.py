"""Tiny models, written once for all tests of features."""

from pathlib import Path

import encoding_features_factory as factory
import pytest
import torch


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a tiny bert, gpt2 and llama; tests that change one copy it first."""
    return {kind: factory.write_text_model(tmp_path_factory.mktemp(kind), kind) for kind in ("bert", "gpt2", "llama")}


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Keep tiny models on one thread: two would wait for each other longer than they calculate."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Return a folder of media with the frames of one film."""
    return factory.write_frames(tmp_path / "frames")
