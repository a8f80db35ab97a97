"""The session on the page about data works as it stands there."""

import re
from pathlib import Path

import encoding_data_factory

PAGE = Path(__file__).resolve().parents[3] / "docs" / "encoding-data.md"


def test_session_on_the_page_works(tmp_path, monkeypatch, capsys):
    encoding_data_factory.write(tmp_path / "films")
    (session,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(compile(session, str(PAGE), "exec"), found)
    assert found["y"].shape == (found["samples"].n, found["dataset"].mask("01").n_voxels)
    assert len(found["folds"]) == 2 and capsys.readouterr().out == "\n"
