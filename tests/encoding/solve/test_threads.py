"""Small decompositions are kept on one thread, whatever the caller's number is, which stays his."""

import pytest
import torch

from release_kit.encoding.solve.decompose import ONE_THREAD_UP_TO, eigen


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("n", "threads"), [(8, 1), (ONE_THREAD_UP_TO + 1, 2)])
def test_a_small_matrix_is_decomposed_by_one_thread(two_threads, monkeypatch: pytest.MonkeyPatch, n: int, threads: int):
    seen = []
    real = torch.linalg.eigh

    def watched(matrix: torch.Tensor):
        seen.append(torch.get_num_threads())
        return real(matrix[:8, :8])  # how many threads it has is the question, not how long it takes

    monkeypatch.setattr(torch.linalg, "eigh", watched)
    found = eigen(torch.diag(torch.arange(1, n + 1, dtype=torch.float64)), cut=False)
    assert found.values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert seen == [threads] and torch.get_num_threads() == 2


def test_the_number_of_threads_comes_back_after_an_error(two_threads, monkeypatch: pytest.MonkeyPatch):
    def fail(_: torch.Tensor):
        raise torch.linalg.LinAlgError("does not converge")

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    with pytest.raises(torch.linalg.LinAlgError):
        eigen(torch.eye(8), cut=False)
    assert torch.get_num_threads() == 2
