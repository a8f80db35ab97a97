"""``release-kit bids demo`` leaves the folders of others alone."""

from pathlib import Path

import pytest
from cli_in_process import release_kit


@pytest.mark.parametrize("options", [(), ("--fresh",)])
def test_study_of_somebody_is_not_taken_for_a_demo(tmp_path: Path, options: tuple[str, ...]):
    mine = tmp_path / "recordings" / "annotations" / "film.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep me")
    ran = release_kit("bids", "demo", "--dir", tmp_path, *options)
    assert ran.returncode == 2 and "is not empty, and no DEMO.txt in it says that a demo made it" in ran.stderr
    assert ("--fresh throws away nothing else" in ran.stderr) == bool(options) and "nothing was touched" in ran.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine] and mine.read_text() == "keep me"
