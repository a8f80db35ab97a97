"""What ``docs/sae-data.md`` shows is run as it stands there."""

import re
from pathlib import Path

import pytest

from release_kit.sae.prepare.pairs import SplitPairs

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sae-data.md"


def test_session_of_the_page_runs(bilingual_pairs: SplitPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{pair.id}\t{pair.en}\t{pair.ja}\n" for pair in (*bilingual_pairs.train, *bilingual_pairs.held_out)]
    Path("pairs.tsv").write_text("".join(rows), encoding="utf-8")
    (session,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(session, names)
    assert capsys.readouterr().out.count("step") == 4
    assert names["x"].shape == (512, 32) and set(names["languages"].tolist()) == {1, 2}
