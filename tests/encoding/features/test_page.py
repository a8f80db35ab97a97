"""The session on the page about features works as it stands there."""

import re
from pathlib import Path

import encoding_data_factory
import numpy as np

PAGE = Path(__file__).resolve().parents[3] / "docs" / "encoding-features.md"


def test_session_on_the_page_works(tmp_path, monkeypatch, capsys):
    encoding_data_factory.write(tmp_path / "films")
    (session,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(compile(session, str(PAGE), "exec"), found)
    assert found["x"].shape == (found["samples"].n, 5) and np.isfinite(found["x"]).all()
    assert capsys.readouterr().out.startswith(f"({found['samples'].n}, 5) ")
