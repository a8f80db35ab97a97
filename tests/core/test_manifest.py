"""The manifest: round trip, one root whatever the order, and nothing unsafe or doubled gets in."""

import copy
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import RecordError, ReleaseKitError, UnsafePathError
from release_kit.core.hashing import hash_file
from release_kit.core.manifest import CellEntry, FileEntry, Manifest, TensorSummary, read_manifest, root_digest

HEX = "0123456789abcdef"
SHA256 = st.text(HEX, min_size=64, max_size=64)
PART = st.text(st.characters(exclude_characters="/\\", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6).filter(
    lambda part: part not in (".", "..") and part[1:2] != ":"
)
SUMMARIES = st.builds(TensorSummary, n_tensors=st.integers(0, 9), digest=SHA256)
ENTRIES = st.lists(
    st.builds(
        FileEntry,
        path=st.lists(PART, min_size=1, max_size=3).map("/".join),
        size_bytes=st.integers(0, 2**50),
        sha256=SHA256,
        git_sha1=st.none() | st.text(HEX, min_size=40, max_size=40),
        tensors=st.none() | SUMMARIES,
    ),
    max_size=4,
    unique_by=lambda entry: entry.path,
).map(tuple)
LEVELS = st.dictionaries(st.sampled_from(["dataset", "seed", "lora"]), st.booleans() | st.integers() | PART, max_size=3)
CELLS = st.lists(
    st.builds(
        CellEntry,
        cell_id=st.text(HEX, min_size=12, max_size=12),
        name=PART,
        levels=LEVELS,
        kind=st.sampled_from(["weights", "adapter", "results-only"]),
        files=ENTRIES,
    ),
    max_size=4,
    unique_by=(lambda cell: cell.name, lambda cell: cell.cell_id),
).map(tuple)
MANIFESTS = st.builds(Manifest, study=PART, version=PART, cells=CELLS, index=ENTRIES, results=ENTRIES)


@given(MANIFESTS)
def test_round_trip(manifest):
    assert Manifest.from_dict(manifest.to_dict()) == manifest
    assert Manifest.from_dict(json.loads(manifest.to_bytes())) == manifest
    assert Manifest.from_dict(json.loads(manifest.to_bytes())).to_bytes() == manifest.to_bytes()


@given(MANIFESTS, st.randoms(use_true_random=False))
def test_root_does_not_depend_on_the_order_of_cells_and_files(manifest, random):
    def shuffled(items):
        return tuple(random.sample(items, len(items)))

    cells = tuple(
        CellEntry(cell_id=c.cell_id, name=c.name, levels=c.levels, kind=c.kind, files=shuffled(c.files))
        for c in shuffled(manifest.cells)
    )
    other = Manifest(
        study=manifest.study, version=manifest.version, cells=cells,
        index=shuffled(manifest.index), results=shuffled(manifest.results),
    )  # fmt: skip
    assert other.root == manifest.root


@given(MANIFESTS.filter(lambda manifest: any(True for _ in manifest.iter_files())), st.data())
def test_root_changes_with_any_path_size_or_digest(manifest, data):
    files = [(path, entry.size_bytes, entry.sha256) for path, entry in manifest.iter_files()]
    assert root_digest(files) == manifest.root
    index = data.draw(st.integers(0, len(files) - 1))
    path, size, sha256 = files[index]
    flipped = ("0" if sha256[0] != "0" else "1") + sha256[1:]
    for changed in ((path + "x", size, sha256), (path, size + 1, sha256), (path, size, flipped)):
        assert root_digest([*files[:index], changed, *files[index + 1 :]]) != manifest.root
    assert root_digest(files[:index] + files[index + 1 :]) != manifest.root


def test_root_is_what_the_format_says():
    entry = FileEntry(path="b", size_bytes=3, sha256="ab" * 32)
    cell = CellEntry(cell_id="0" * 12, name="c", levels={}, kind="weights", files=(entry,))
    index = (FileEntry(path="a", size_bytes=1, sha256="0" * 64),)
    manifest = Manifest(study="s", version="1", cells=(cell,), index=index)
    lines = f"cells/c/b\0{3}\0{'ab' * 32}\nindex/a\0{1}\0{'0' * 64}\n"
    assert manifest.root == hashlib.sha256(lines.encode()).hexdigest()


def example() -> dict:
    entry = {"path": "model.safetensors", "size_bytes": 3, "sha256": "0" * 64}
    summary = {"algorithm": "blake3", "digest": "1" * 64, "n_tensors": 2}
    cell = {"cell_id": "0" * 12, "name": "c", "levels": {"seed": 1}, "kind": "weights"}
    value = {"schema_version": 1, "study": "s", "version": "1", "index": [], "results": []}
    value["cells"] = [{**cell, "files": [{**entry, "tensors": summary}, {**entry, "path": "config.json"}]}]
    value["root"] = root_digest([("cells/c/model.safetensors", 3, "0" * 64), ("cells/c/config.json", 3, "0" * 64)])
    return value


def change(value: dict, dotted: list, new) -> dict:
    value = copy.deepcopy(value)
    target = value
    for key in dotted[:-1]:
        target = target[key]
    if new is ...:
        del target[dotted[-1]]
    else:
        target[dotted[-1]] = new
    return value


WRONG = [
    (["root"], "0" * 64, "`root` is 000000000000…, but the files listed give"),
    (["root"], ..., "`root` is missing"),
    (["schema_version"], 9, "`schema_version` is 9"),
    (["extra"], 1, "`extra` is not a known key"),
    (["cells", 0, "files", 0, "sha256"], "0" * 63, "`cells[0].files[0].sha256` is not 64 lower-case hex digits"),
    (["cells", 0, "files", 0, "sha256"], "Z" * 64, "`cells[0].files[0].sha256` is not 64"),
    (["cells", 0, "files", 0, "git_sha1"], "1", "`cells[0].files[0].git_sha1` is not 40"),
    (["cells", 0, "files", 0, "size_bytes"], "3", "`cells[0].files[0].size_bytes` expected int, got str"),
    (["cells", 0, "files", 0, "size_bytes"], True, "`cells[0].files[0].size_bytes` expected int, got bool"),
    (["cells", 0, "files", 0, "size_bytes"], -1, "`cells[0].files[0].size_bytes` is negative"),
    (["cells", 0, "files", 0, "sise_bytes"], 1, "did you mean 'size_bytes'?"),
    (["cells", 0, "files", 0, "tensors", "digest"], 5, "`cells[0].files[0].tensors.digest` expected str"),
    (["cells", 0, "files", 1, "path"], "model.safetensors", "`cells[0].files` names 'model.safetensors' twice"),
    (["cells", 0, "files", 1, "path"], "../x", "'../x' is not a plain relative path"),
    (["cells", 0, "files", 1, "path"], "/x", "'/x' is not a plain relative path"),
    (["cells", 0, "name"], "a/b", "`cells[0].name` is 'a/b'"),
    (["cells", 0, "name"], "..", "'..' is not a plain relative path"),
    (["cells", 0, "kind"], "model", "`cells[0].kind` is 'model'"),
    (["cells", 0], [], "`cells[0]` expected a mapping, got list"),
    (["cells"], {}, "`cells` expected list, got dict"),
]


@pytest.mark.parametrize(("dotted", "new", "part"), WRONG, ids=[f"{w[0][-1]}-{i}" for i, w in enumerate(WRONG)])
def test_each_mistake_is_named_with_its_key(dotted, new, part):
    Manifest.from_dict(example())
    with pytest.raises(ReleaseKitError) as caught:
        Manifest.from_dict(change(example(), dotted, new), "manifest.json")
    assert part in str(caught.value)
    assert str(caught.value).startswith("manifest.json")
    assert isinstance(caught.value, (RecordError, UnsafePathError))


def test_two_cells_of_one_name_are_refused():
    value = example()
    value["cells"].append({**value["cells"][0], "cell_id": "1" * 12, "files": []})
    with pytest.raises(RecordError, match="names 'c' twice"):
        Manifest.from_dict(value)


def test_entry_of_a_file_carries_its_digests(make_study):
    study = make_study()
    path = next(study.folder.glob("cells/*/model/model.safetensors"))
    digest = hash_file(path)
    entry = FileEntry.of("model.safetensors", digest)
    assert (entry.size_bytes, entry.sha256, entry.git_sha1) == (digest.size_bytes, digest.sha256, digest.git_sha1)
    assert entry.tensors.n_tensors == len(digest.tensors) > 0


def test_a_manifest_is_found_in_its_folder_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "release").mkdir()
    manifest = Manifest.from_dict(example())
    (tmp_path / "release" / "manifest.json").write_bytes(manifest.to_bytes())
    assert read_manifest(tmp_path) == read_manifest(tmp_path / "release") == manifest
    (tmp_path / "release" / "manifest.json").unlink()
    with pytest.raises(RecordError, match=r"manifest\.json: cannot be read"):
        read_manifest(tmp_path)
