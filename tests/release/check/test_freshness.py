"""After a build: whatever changed, came, went or was exchanged since is named."""

import os
import re
import shutil

import pytest
from study_factory import change_study, find_cell, read_tensors, write_json, write_safetensors

from release_kit.core.digest_cache import DigestCache, stamp_of
from release_kit.release.build import build_release
from release_kit.release.check import check_study

LIMA = "base_model=tiny-llama dataset=lima method=full seed=1"


@pytest.fixture
def built(make_study):
    study = make_study()
    build_release(study)
    return study


def lima(study, seed=1):
    return find_cell(study, dataset="lima", method="full", seed=seed)


def test_exchanged_artifacts_are_named_on_both_sides(built, only):
    one, two = (lima(built, seed) / "model" / "model.safetensors" for seed in (0, 1))
    spare = built.folder / "spare"
    one.rename(spare), two.rename(one), spare.rename(two)
    found = only(built, "release-swapped", "*dataset=lima method=full*", severity="error", n=2)
    assert found[0].what == "model.safetensors is what the manifest lists under the cell with seed=1"


def test_changed_weights(built, only):
    path = lima(built) / "model" / "model.safetensors"
    tensors = read_tensors(path)
    tensors["model.norm.weight"] += 1
    write_safetensors(path, tensors)
    (found,) = only(built, "release-stale", LIMA)
    assert found.what == "1 changed: model.safetensors"


def test_change_that_keeps_size_and_time(built, only):
    path = lima(built) / "model" / "model.safetensors"
    with DigestCache(None) as cache:
        check_study(built, cache=cache)
        stat = path.stat()
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert [each.code for each in check_study(built, cache=cache).problems] == ["release-stale"]


def test_files_that_came_and_went(built, only):
    folder = lima(built) / "model"
    (folder / "tokenizer_config.json").unlink()
    write_json(folder / "special_tokens_map.json", {})
    (found,) = only(built, "release-stale", LIMA)
    assert found.what == "1 gone: tokenizer_config.json; 1 not in the manifest: special_tokens_map.json"


def test_new_results_of_a_cell(built, only):
    folder = lima(built) / "eval"
    shutil.copy(folder / "copa_tiny.json", folder / "more.txt")
    (found,) = only(built, "release-stale", LIMA)
    assert "eval/more.txt" in found.what


def test_built_table_that_was_edited(built, only):
    (built.folder / "release" / "results" / "cells.parquet").write_bytes(b"PAR1")
    (found,) = only(built, "release-stale", "release/results")
    assert "cells.parquet" in found.what


def test_number_that_was_changed_in_a_card(built, only):
    (card,) = (built.folder / "release" / "cells").glob("*lima-full-s1/README.md")
    line = next(line for line in card.read_text().splitlines() if line.startswith("| arc_tiny |"))
    number = re.search(r"0\.\d+", line).group()
    card.write_text(card.read_text().replace(line, line.replace(number, "0.99999", 1)))
    (found,) = only(built, "card-stale", "release/cells/*lima-full-s1/README.md", severity="error")
    assert "0.99999" in found.what and "arc_tiny" in found.what


def test_facts_of_the_study_that_changed_since(built, only):
    found = only(change_study(built, title="Another title"), "card-stale", "release/*/README.md", n=11)
    assert any("Another title" in each.what for each in found)


def test_words_by_hand_are_no_stale_card_but_want_a_build(built, only):
    (card,) = (built.folder / "release" / "cells").glob("*lima-full-s1/README.md")
    text = card.read_text()
    opened = re.search(r"<!-- release_kit:hand-written [a-z]+ -->\n", text).group()
    card.write_text(text.replace(opened, opened + "Our own words.\n", 1))
    (found,) = only(built, "release-stale", LIMA)
    assert found.what == "1 changed: README.md"


def test_new_version_without_a_build(built, only):
    (found,) = only(change_study(built, version="2.0.0"), "release-stale", "release/manifest.json")
    assert "tiny-grid 1.0.0, study.yaml is tiny-grid 2.0.0" in found.what


def test_cell_that_was_made_after_the_build(make_study, only):
    study = make_study()
    folder = lima(study)
    aside = study.folder / "aside"
    folder.rename(aside)
    build_release(study)
    aside.rename(folder)
    (found,) = only(study, "release-stale", LIMA)
    assert "not in the manifest" in found.what


@pytest.mark.parametrize("content", [b"", b"{}", b"not json"])
def test_broken_manifest(built, only, content):
    (built.folder / "release" / "manifest.json").write_bytes(content)
    only(built, "release-broken", "release/manifest.json")


def test_after_a_build_no_weights_are_read_again(make_study, tmp_path):
    """Everything that check asks of weights (tensors and their values) is remembered by the build."""
    study = make_study()
    with DigestCache(tmp_path / "digests.sqlite") as cache:
        build_release(study, cache=cache)
        weights = sorted((study.folder / "cells").rglob("*.safetensors"))
        known = [cache.lookup(stamp_of(path.stat()), tensors=True, values=True) for path in weights]
        assert len(known) == 8 and all(digest.tensors[0].zero is False for digest in known)
        assert check_study(study, cache=cache).problems == ()


def test_nothing_is_said_before_the_first_build(make_study):
    report = check_study(make_study())
    assert report.problems == () and not report.built
