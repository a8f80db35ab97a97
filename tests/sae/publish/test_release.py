"""A finished study becomes a release that is built, checked, published, fetched in part, and proved byte by byte."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli_in_process import release_kit
from sae.publish.sae_study import N_FEATURES, make_sae, make_study, write_one
from safetensors.numpy import load_file

from release_kit.cli.sae_release import release_command
from release_kit.core import canonical
from release_kit.hub.server import LocalHub
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline.paths import SaeKey, sae_folder
from release_kit.sae.pipeline.published import publish_cells
from release_kit.sae.spec.read import read_study

LIKE = SaeKey(size="small", step=3, layer=2, seed=1)
NAME = "small-step-3-layer-2-seed-1"


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Keep digests of these tests apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Return the folder of a study that was published and built."""
    study = make_study(tmp_path_factory.mktemp("built") / "study")
    (study.folder / "tables" / "matches").mkdir()
    (study.folder / "tables" / "matches" / "kept.parquet").write_bytes(b"what tables are made from")
    (study.folder / "report").mkdir()
    (study.folder / "report" / "index.html").write_text("<p>what was found</p>\n")
    folder = publish_cells(study).folder
    done = release_kit("build", folder)
    assert done.returncode == 0, done.stderr
    return study.folder


@pytest.fixture
def study(tmp_path):
    """Return a finished study to break."""
    return make_study(tmp_path / "study")


def card(folder: Path, name: str = f"cells/{NAME}") -> str:
    return (folder / "published" / "release" / name / "README.md").read_text()


def test_check_has_nothing_to_say_of_a_whole_release(built):
    done = release_kit("check", built / "published", "--strict")
    assert done.returncode == 0, done.stdout
    assert "24 cells declared, 0 missing" in done.stdout


def test_a_card_says_hook_data_licence_figures_and_each_share_beside_its_nulls(built):
    text = card(built)
    assert "the residual stream after block 2 (counted from 1), before the final norm" in text
    assert "- Sentences: pairs.tsv, licence cc-by-4.0" in text
    assert "library_name: saelens" in text and "license: cc-by-4.0" in text
    assert "| all-text | — | fvu |" in text and "| ja | — | fvu |" in text
    shares = [line for line in text.splitlines() if line.startswith("| bilingual | count | rate |")]
    assert [line.split(" | ")[3] for line in shares] == ["permuted-languages", "random-model"]
    assert all(line.endswith("| below |") for line in shares)
    assert "bilingual_count" not in text, "no share without its nulls, in the front matter either"


def test_cards_come_again_from_results_as_they_were(built):
    published = built / "published"
    before = card(built)
    (published / "release" / "cells" / NAME / "README.md").unlink()
    assert release_kit("cards", published).returncode == 0
    assert card(built) == before


def test_a_second_release_of_the_same_study_writes_nothing(built):
    publish_cells(read_study(built))
    done = release_kit("build", built / "published", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["written"] in ([], 0), done.stdout


def test_one_index_names_every_autoencoder_with_place_figures_and_digests(built):
    release = built / "published" / "release"
    index = json.loads((release / "index" / "index.json").read_bytes())
    table = pq.read_table(release / "index" / "index.parquet").to_pylist()
    assert len(index["autoencoders"]) == len(table) == 24
    manifest = json.loads((release / "manifest.json").read_bytes())
    digests = {
        f"cells/{cell['name']}/{file['path']}": file["sha256"] for cell in manifest["cells"] for file in cell["files"]
    }
    for one, row in zip(index["autoencoders"], table, strict=True):
        assert digests[f"{one['path']}/sae_weights.safetensors"] == one["sha256"]["sae_weights.safetensors"]
        assert row["weights_sha256"] == one["sha256"]["sae_weights.safetensors"]
        assert row["fvu_ja"] == one["metrics"]["fvu_ja"]
        assert one["metrics"]["bilingual_count_null_random-model"] == 0.97
        assert (one["d_in"], one["n_features"]) == ({"small": 16, "large": 24}[one["size"]], N_FEATURES)


def test_report_and_tables_go_along(built):
    index = built / "published" / "release" / "index"
    assert (index / "report" / "index.html").read_text() == "<p>what was found</p>\n"
    assert "[report/index.html](report/index.html)" in (index / "README.md").read_text()
    assert not (index / "tables" / "matches").exists(), "only tables go along"
    assert (index / "tables" / "saes.parquet").read_bytes() == (built / "tables" / "saes.parquet").read_bytes()


def test_selected_levels_are_fetched_and_nothing_else_and_a_damaged_byte_is_found(built, tmp_path):
    with LocalHub(tmp_path / "hub") as hub:
        sent = release_kit("publish", built / "published", "--to", "lab", "--endpoint", hub.endpoint)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        copy = tmp_path / "copy"
        chosen = ("--select", "layer=2", "--select", "step=3")
        got = release_kit("download", "lab/small-study", copy, *chosen, "--endpoint", hub.endpoint)
        assert got.returncode == 0, got.stdout + got.stderr
    assert sorted(path.name for path in (copy / "cells").iterdir()) == sorted(
        f"{size}-step-3-layer-2-seed-{seed}" for size in ("small", "large") for seed in (0, 1)
    )
    weights = copy / "cells" / NAME / "sae_weights.safetensors"
    assert (load_file(weights)["W_dec"] == make_sae(LIKE, normalise="unit-norm").w_dec.numpy() * 4).all()
    assert release_kit("verify", copy).returncode == 0
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    found = release_kit("verify", copy)
    assert found.returncode != 0
    assert "sae_weights.safetensors" in found.stdout + found.stderr


def test_the_command_names_what_is_planned_and_not_made_and_so_does_the_card(study):
    for path in sae_folder(study.folder, LIKE).iterdir():
        path.unlink()
    from click.testing import CliRunner

    done = CliRunner().invoke(release_command, [str(study.folder)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "1 autoencoder planned and not made: small, step 3, layer 2, seed 1" in done.output
    assert "23 autoencoders in" in done.output
    checked = release_kit("check", study.folder / "published")
    assert "size=small step=3 layer=2 seed=1" in checked.stdout
    assert "## Holes" in card(study.folder, "index")


def test_a_record_that_does_not_fit_its_files_is_refused_by_name(study):
    weights = sae_folder(study.folder, LIKE) / "sae_weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (sae_folder(study.folder, SaeKey(size="large", step=6, layer=1, seed=0)) / "cfg.json").write_text("{}")
    with pytest.raises(SaeError) as caught:
        publish_cells(study)
    assert "small, step 3, layer 2, seed 1: sae_weights.safetensors is damaged" in caught.value.what
    assert "large, step 6, layer 1, seed 0: sae.json does not fit the files beside it" in caught.value.what


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        (None, "layer", 1, "sae.json says layer 1"),
        ("training", "tokens", 99, "other `training` settings"),
        ("sae", "k", 2, "other `sae` settings"),
    ],
)
def test_an_autoencoder_of_another_recipe_is_refused(study, section, key, value, said):
    path = write_one(study, LIKE) / "sae.json"
    record = canonical.read_json(path)
    place = record["identity"][section] if section else record["identity"]
    place[key] = value
    path.write_bytes(canonical.document_bytes({**record, "identity_digest": canonical.digest(record["identity"])}))
    with pytest.raises(SaeError, match="small, step 3, layer 2, seed 1") as caught:
        publish_cells(study)
    assert said in caught.value.what


def test_tables_of_another_time_are_refused(study):
    path = study.folder / "tables" / "nulls.parquet"
    path.write_bytes((study.folder / "tables" / "saes.parquet").read_bytes())
    with pytest.raises(SaeError, match=r"not what tables\.json says: tables/nulls\.parquet"):
        publish_cells(study)
    (study.folder / "tables" / "tables.json").unlink()
    with pytest.raises(SaeError, match=r"tables\.json: is missing"):
        publish_cells(study)


def test_a_text_without_a_licence_is_said_on_the_card_and_stops_the_check(tmp_path):
    study = make_study(tmp_path / "study", licence=None)
    folder = publish_cells(study).folder
    assert release_kit("build", folder).returncode == 0
    assert "its licence is not declared" in card(study.folder)
    done = release_kit("check", folder)
    assert done.returncode != 0
    assert "licence-missing" in done.stdout


def test_what_people_say_goes_into_the_study_and_unknown_keys_are_refused(study):
    file = study.folder / "release.yaml"
    file.write_text("version: 2.1.0\nauthors: [A. Author]\ncitation: Author, 2026\nnamespace: my-lab\n")
    text = (publish_cells(study).folder / "study.yaml").read_text()
    assert "version: 2.1.0" in text and "namespace: my-lab" in text and "citation: Author, 2026" in text
    file.write_text("licence: mit\n")
    with pytest.raises(SaeError, match="'licence'; did you mean 'license'"):
        publish_cells(study)
