"""The HTTP interface below the client: identities, listings, ranges, refusals. One plain request at a time."""

import base64
import hashlib
import json
import subprocess
from urllib.parse import quote

import pytest

from release_kit.hub.server import LocalHub


def lines(*items: tuple[str, dict]) -> bytes:
    header = ("header", {"summary": "change"})
    return b"\n".join(json.dumps({"key": key, "value": value}).encode() for key, value in (header, *items))


def file_line(path: str, content: bytes = b"x") -> tuple[str, dict]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


def git(folder, *words: str) -> str:
    options = ["-c", "user.name=local", "-c", "user.email=local@users.noreply.localhost", "-c", "core.autocrlf=false"]
    return subprocess.run(
        ["git", *options, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_ids_are_those_of_git(ask, repo, commit_files, tmp_path):
    files = {"a/b/deep.txt": b"deep\n", "a.txt": b"dot sorts before slash", "a-b/x": b"1", "ü.txt": "ü".encode()}
    commit_files(repo, files)
    folder = tmp_path / "git"
    folder.mkdir()
    git(folder, "init", "-q")
    shown = ask("GET", f"/api/models/{repo}/tree/main?recursive=true").json
    for item in shown:
        if item["type"] == "file":
            path = folder / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(ask("GET", f"/{repo}/resolve/main/{quote(item['path'])}").body)
    git(folder, "add", "-A", "-f")
    tree = git(folder, "write-tree")
    listed = [
        line.split("\t") for line in git(folder, "-c", "core.quotepath=false", "ls-tree", "-r", "-t", tree).splitlines()
    ]
    assert {path: meta.split()[2] for meta, path in listed} == {item["path"]: item["oid"] for item in shown}


def test_listing_comes_in_pages_without_gaps(tmp_path, ask_at):
    with LocalHub(root=tmp_path / "paged", page_entries=7) as hub:
        ask = ask_at(hub.endpoint)
        ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
        paths = sorted(f"{folder}/f{index:02}.txt" for folder in ("a", "a b", "a.b", "z/deep") for index in range(9))
        ask("POST", "/api/models/lab/m/commit/main", body=lines(*(file_line(path) for path in paths)))
        found, url = [], "/api/models/lab/m/tree/main?recursive=true"
        while url:
            answer = ask("GET", url)
            assert len(answer.json) <= 7
            found += [item["path"] for item in answer.json]
            url = answer.headers.get("link", "").partition("<")[2].partition(">")[0]
        assert sorted(path for path in found if path.endswith(".txt")) == paths
        assert len(found) == len(set(found)) == len(paths) + 1 + 5
        inner = ask("GET", "/api/models/lab/m/tree/main/a").json
        assert [item["path"] for item in inner] == paths[:9] or len(inner) == 7


@pytest.mark.parametrize(
    ("header", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=90-", 206, 90, 100),
        ("bytes=-10", 206, 90, 100),
        ("bytes=-1000", 206, 0, 100),
        ("bytes=50-1000", 206, 50, 100),
        ("bytes=100-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-5", 416, 0, 0),
        ("bytes=0-1,4-5", 200, 0, 100),
        ("lines=1-2", 200, 0, 100),
        (None, 200, 0, 100),
    ],
)
def test_ranges(ask, repo, commit_files, header, status, start, end):
    content = bytes(range(100))
    commit_files(repo, {"data.txt": content})
    headers = {"Range": header} if header else {}
    answer = ask("GET", f"/{repo}/resolve/main/data.txt", headers=headers)
    head = ask("HEAD", f"/{repo}/resolve/main/data.txt", headers=headers)
    assert answer.status == head.status == status
    if status == 416:
        assert answer.headers["content-range"] == "bytes */100"
        return
    assert answer.body == content[start:end]
    assert answer.headers["content-length"] == head.headers["content-length"] == str(end - start)
    assert answer.headers.get("content-range") == (f"bytes {start}-{end - 1}/100" if status == 206 else None)


def test_file_headers(ask, repo):
    sha = ask("GET", f"/api/models/{repo}").json["sha"]
    answer = ask("HEAD", f"/{repo}/resolve/main/config.json")
    assert answer.body == b""
    assert answer.headers["x-repo-commit"] == sha
    assert answer.headers["accept-ranges"] == "bytes"
    etag = answer.headers["etag"]
    assert etag == '"' + hashlib.sha1(b"blob 8\0" + b'{"a": 1}').hexdigest() + '"'
    assert ask("GET", f"/{repo}/resolve/main/config.json", headers={"If-None-Match": etag}).status == 304


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "a/../../outside",
        "/absolute",
        "a//b",
        "a/./b",
        "a\\b",
        "a\0b",
        "a\nb",
        ".git/config",
        "x/.GIT/hooks/x",
        "C:/x",
        "",
        ".",
        "..",
        "x" * 2000,
        "/".join("x" * 101),
        "\ud800",
    ],
)
def test_paths_that_leave_the_repository_are_refused(ask, repo, path, tmp_path):
    before = ask("GET", f"/api/models/{repo}").json["sha"]
    answer = ask("POST", f"/api/models/{repo}/commit/main", body=lines(file_line("good.txt"), file_line(path)))
    assert answer.status == 400
    assert "path" in answer.headers["x-error-message"].lower()
    upload = {"files": [{"path": path, "size": 1, "sample": ""}]}
    assert ask("POST", f"/api/models/{repo}/preupload/main", json=upload).status == 400
    assert ask("GET", f"/api/models/{repo}").json["sha"] == before


@pytest.mark.parametrize(
    "path", ["..%2F..%2Fhub.sqlite3", "../../hub.sqlite3", "%2e%2e/hub.sqlite3", "%00", "..%5Chub"]
)
def test_reading_outside_a_repository_finds_nothing(ask, repo, path):
    assert ask("GET", f"/{repo}/resolve/main/{path}").status == 404
    assert ask("GET", f"/api/models/{repo}/tree/main/{path}").status == 404


@pytest.mark.parametrize("name", ["a--b", "a..b", "-a", "a-", ".a", "a.", "a b", "a.git", "ü", "x" * 97, "a/b/c", ""])
def test_bad_repository_names_are_refused(ask, name):
    answer = ask("POST", "/api/repos/create", json={"name": name, "organization": "lab"})
    assert answer.status == 400, answer.body
    assert "Invalid repository name" in answer.json["error"]


def test_names_that_differ_in_case_only_are_taken(ask, repo):
    assert ask("POST", "/api/repos/create", json={"name": "M", "organization": "Lab"}).status == 409
    assert ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab", "type": "dataset"}).status == 200


@pytest.mark.parametrize(
    "name", ["a b", "a..b", "x.lock", "/x", "x/", "a//b", "-x", "refs/heads/x", "a~1", "f" * 40, ""]
)
def test_bad_tag_names_are_refused(ask, repo, name):
    assert ask("POST", f"/api/models/{repo}/tag/main", json={"tag": name}).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"key": "file"}',
        b'{"key": "nothing", "value": {}}',
        b"not json",
        b'{"key":"header","value":{}}',
        lines(("file", {"path": "a", "content": "!!", "encoding": "base64"})),
        lines(("file", {"path": "a"})),
        lines(("lfsFile", {"path": "a", "algo": "sha256", "oid": "0" * 64, "size": 1})),
        lines(("lfsFile", {"path": "a", "algo": "sha256", "oid": "zz", "size": 1})),
        lines(file_line("README.md/inside")),
        lines(file_line("dir/x"), file_line("dir")),
        b'{"key":"header","value":{"summary":"' + b"x" * 2000 + b'"}}',
    ],
)
def test_broken_commits_change_nothing(ask, repo, body):
    before = ask("GET", f"/api/models/{repo}").json["sha"]
    answer = ask("POST", f"/api/models/{repo}/commit/main", body=body)
    assert answer.status == 400
    assert answer.json["error"]
    assert ask("GET", f"/api/models/{repo}").json["sha"] == before


def test_commit_without_a_change_returns_the_head(ask, repo, commit_files):
    head = ask("GET", f"/api/models/{repo}").json["sha"]
    assert commit_files(repo, {"config.json": b'{"a": 1}'}).json["commitOid"] == head


def test_deleting_a_folder_and_writing_into_it_in_one_commit(ask, repo, commit_files):
    commit_files(repo, {"d/one": b"1", "d/two": b"2"})
    body = lines(("deletedFolder", {"path": "d/"}), file_line("d/three"))
    assert ask("POST", f"/api/models/{repo}/commit/main", body=body).status == 200
    names = [item["path"] for item in ask("GET", f"/api/models/{repo}/tree/main/d").json]
    assert names == ["d/three"]


def test_old_commits_stay_as_they_were(ask, repo, commit_files):
    old = ask("GET", f"/api/models/{repo}").json["sha"]
    commit_files(repo, {"config.json": b"new", "README.md": None})
    assert ask("GET", f"/{repo}/resolve/{old}/config.json").body == b'{"a": 1}'
    assert ask("GET", f"/{repo}/resolve/{old[:8]}/README.md").status == 200
    assert ask("GET", f"/{repo}/resolve/main/README.md").headers["x-error-code"] == "EntryNotFound"


def test_pull_requests_are_refused_clearly(ask, repo):
    answer = ask("POST", f"/api/models/{repo}/commit/main?create_pr=1", body=lines(file_line("x")))
    assert answer.status == 501
    assert "pull requests" in answer.json["error"]


def test_last_commit_of_each_path(ask, repo, commit_files):
    commit_files(repo, {"d/x": b"1"}, title="first")
    commit_files(repo, {"d/y": b"1"}, title="second")
    commit_files(repo, {"d/x": b"2"}, title="third")
    shown = ask("GET", f"/api/models/{repo}/tree/main?recursive=true&expand=true").json
    titles = {item["path"]: item["lastCommit"]["title"] for item in shown}
    assert titles == {
        ".gitattributes": "initial commit",
        "README.md": "change",
        "config.json": "change",
        "d": "third",
        "d/x": "third",
        "d/y": "second",
    }


def test_history_in_pages(ask, repo, commit_files):
    for number in range(60):
        commit_files(repo, {"n": str(number).encode()}, title=f"c{number}")
    first = ask("GET", f"/api/models/{repo}/commits/main")
    second = ask("GET", first.headers["link"].partition("<")[2].partition(">")[0])
    titles = [item["title"] for item in first.json + second.json]
    assert titles == [f"c{number}" for number in range(59, -1, -1)] + ["change", "initial commit"]
    assert "link" not in second.headers


def test_unknown_addresses_say_so(ask):
    assert ask("GET", "/api/nothing").status == 404
    assert ask("PATCH", "/api/models/a/b").status == 404
    assert ask("GET", "/api/models/a/b").headers["x-error-code"] == "RepoNotFound"


def test_body_that_is_too_large_is_refused(ask):
    answer = ask("POST", "/api/repos/create", body=b"x" * (33 << 20))
    assert answer.status == 413


def test_many_small_files_in_many_commits_share_their_folders(hub, ask, repo):
    for start in range(5):
        files = [file_line(f"d{start}/{index}.txt", str(index).encode()) for index in range(1000)]
        assert ask("POST", f"/api/models/{repo}/commit/main", body=lines(*files)).status == 200
    stored = hub.server.hub.database.query("SELECT count(*), sum(length(entries)) FROM trees").fetchone()
    assert stored[0] == 2 + 5 + 1, "a root for each commit, and one folder for five equal ones"


def test_listing_of_repositories_in_pages(ask, commit_files):
    for number in range(5):
        ask("POST", "/api/repos/create", json={"name": f"m{number}", "organization": "lab"})
        if number % 2:
            commit_files(f"lab/m{number}", {"README.md": b"---\ntags: [odd]\n---\n"})
    for query, expected in (("", 5), ("&filter=odd", 2), ("&search=M3", 1)):
        found, url = [], f"/api/models?limit=1{query}"
        while url:
            answer = ask("GET", url)
            found += [item["id"] for item in answer.json]
            url = answer.headers.get("link", "").partition("<")[2].partition(">")[0]
        assert len(found) == len(set(found)) == expected


def test_settings_say_what_holds_and_take_nothing_but_true_and_false(ask, repo):
    address = f"/api/models/{repo}/settings"
    assert ask("PUT", address, json={"private": "yes"}).status == 400
    assert ask("PUT", address, json={"private": True}).json["private"] is True
    assert ask("PUT", address, json={"gated": "auto"}).json["private"] is True
    assert ask("GET", f"/api/models/{repo}").json["private"] is True


def test_texts_that_are_no_unicode_are_refused(ask, repo):
    body = (
        b'{"key": "header", "value": {"summary": "\\ud800"}}\n'
        + json.dumps({"key": "file", "value": file_line("a.txt")[1]}).encode()
    )
    assert ask("POST", f"/api/models/{repo}/commit/main", body=body).status == 400


def test_endless_digits_in_a_range_are_ignored(ask, repo):
    answer = ask("GET", f"/{repo}/resolve/main/.gitattributes", headers={"Range": f"bytes={'9' * 5000}-"})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("pattern", "large"), [("[z-a].txt", False), ("[ab].txt", True), ("[!a].txt", True), ("[!b].txt", False)]
)
def test_character_classes_of_attributes_are_those_of_git(ask, repo, commit_files, pattern, large):
    commit_files(repo, {".gitattributes": f"{pattern} filter=lfs diff=lfs merge=lfs -text\n".encode()})
    wish = {"files": [{"path": "b.txt", "size": 1, "sample": "eA=="}]}
    (answer,) = ask("POST", f"/api/models/{repo}/preupload/main", json=wish).json["files"]
    assert answer["uploadMode"] == ("lfs" if large else "regular")


@pytest.mark.parametrize("value", ["[" * 400_000, "\n" + "- " * 400_000, "&a [x, *a]"])
def test_front_matter_that_never_ends_is_invalid_and_stops_nothing(ask, repo, commit_files, value):
    card = f"---\nlicense: mit\na: {value}\n---\n"
    assert ask("POST", "/api/validate-yaml", json={"content": card}).status == 400
    commit_files(repo, {"README.md": card.encode()})
    assert ask("GET", f"/api/models/{repo}").json["cardData"] is None
    assert ask("GET", "/api/models").status == 200


def test_many_small_files_in_one_commit_do_not_all_wait_in_memory(hub, ask, repo):
    content = [bytes([n % 256, n // 256]) * 32_000 for n in range(1200)]
    body = lines(*(file_line(f"{n}.txt", data) for n, data in enumerate(content)))
    assert ask("POST", f"/api/models/{repo}/commit/main", body=body).status == 200
    assert len(list(hub.server.hub.blobs.iter_names())) == 1200 - (64 << 20) // 64_000
    for n in (0, 1199):
        assert ask("GET", f"/{repo}/resolve/main/{n}.txt").body == content[n]
