"""A fit keeps to its memory: responses on disk are read by tiles and given back."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FIT = """
import json, re, sys
from pathlib import Path
import numpy as np
from release_kit.encoding.arrays import Fold
from release_kit.encoding.solve.ridge import fit_ridge
from release_kit.encoding.solve.settings import RidgeSettings

def memory(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def fit(y, x):
    n = len(x)
    folds = [Fold(train=np.arange(n // 2), test=np.arange(n // 2, n)),
             Fold(train=np.arange(n // 3, n), test=np.arange(n // 3))]
    return fit_ridge(x, y, folds, RidgeSettings(alphas=tuple(np.logspace(0, 6, 13)), solver=sys.argv[2],
                                                memory_bytes=int(sys.argv[3])))

folder = Path(sys.argv[1])
x = np.load(folder / "x.npy")
fit(np.random.default_rng(0).standard_normal((200, 50)).astype("f"), x[:200])
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
fit(np.load(folder / "y.npy", mmap_mode="r"), x)
print(json.dumps(memory("VmHWM") - before))
"""
LIMIT = 160 * 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(("solver", "n", "p"), [("primal", 3000, 100), ("dual", 1000, 1200)])
def test_a_fit_of_responses_on_disk_stays_within_its_memory(tmp_path, solver, n, p):
    v = 320 * 2**20 // (4 * n) if solver == "primal" else 15_000
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.standard_normal((n, p), dtype=np.float32))
    stored = np.lib.format.open_memmap(tmp_path / "y.npy", mode="w+", dtype=np.float32, shape=(n, v))
    for row in stored:
        row[:] = rng.standard_normal(v, dtype=np.float32)
    stored.flush()
    ran = subprocess.run(
        [sys.executable, "-c", FIT, tmp_path, solver, str(LIMIT)], check=True, capture_output=True, text=True
    )
    assert json.loads(ran.stdout) < LIMIT
