"""The browser in a real browser, opened from disk: the address chooses a view, every part of it is drawn."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sae.browser.browser_factory import make_tables

from release_kit.sae.browser.write import write_browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "a folder with 日本語"
    write_browser(make_tables(), folder, title="Two languages", description="Made up.")
    return folder


def document(folder: Path, address: str, *, script: str = "") -> str:
    """Return the page as it stands after its scripts have run; ``script`` acts on it as a reader would."""
    page = folder / "index.html"
    if script:
        page = folder / "acted.html"
        (folder / "act.js").write_text(script, encoding="utf-8")
        acted = (folder / "index.html").read_text(encoding="utf-8")
        page.write_text(acted.replace("</body>", '<script src="act.js"></script></body>'), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    ran = subprocess.run([*command, page.as_uri() + address], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def test_it_opens_on_the_last_step_with_map_list_and_contexts_in_both_languages(folder: Path):
    found = document(folder, "")
    assert '<h1 id="title">Two languages</h1>' in found
    assert 'data-shown="small_step-1000_layer-1_seed-0/' in found
    assert len(re.findall(r'role="option"', found)) == 12
    assert found.count(">null 0.950<") == 6
    assert "en: 3 contexts" in found and "ja: 3 contexts" in found
    assert 'data-source="tables/contexts.parquet#' in found and 'data-source="tables/saes.parquet#' in found
    assert "Along training" in found


def test_the_address_chooses_the_view(folder: Path):
    found = document(folder, "#size=larger&step=100&layer=2&class=ja&feature=35&metric=fvu")
    assert 'data-shown="larger_step-100_layer-2_seed-0/35"' in found
    assert len(re.findall(r'role="option"', found)) == 3
    assert "fvu of larger" in found and "null 0.950" not in found


def test_an_address_of_something_that_is_not_there_falls_back(folder: Path):
    found = document(folder, "#size=none&step=7&layer=9&feature=99999&metric=x")
    assert re.search(r'data-shown="small_step-\d+_layer-\d_seed-0/\d+"', found)


def test_the_slider_and_the_filter_act(folder: Path):
    act = """
    const act = (id, value, event) => { const at = document.getElementById(id); at.value = value;
      at.dispatchEvent(new Event(event)); };
    setTimeout(() => { act("step", 0, "input"); }, 300);
    setTimeout(() => { act("query", "concept", "input"); }, 900);
    """
    found = document(folder, "", script=act)
    assert 'data-shown="small_step-0_layer-1_seed-0/' in found
    assert len(re.findall(r'role="option"', found)) == 6
    assert '<output id="stepShown">0</output>' in found


def test_markup_in_texts_stays_text(folder: Path):
    found = document(folder, "#feature=0")
    assert "&lt;/script&gt;" in found and "&lt;b&gt;" in found and "&lt;/span&gt;" in found


def test_data_that_is_missing_is_said(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "copy")
    for path in (tmp_path / "copy" / "data").glob("*_0.js"):
        path.unlink()
    assert "is missing: was the folder copied whole?" in document(tmp_path / "copy", "")
