"""The pages for people: what is there is shown, and nothing that a card holds becomes code."""

import re

import pytest

from release_kit.hub.server.page_values import natural_order, short_size

CARD = b"""---
license: mit
tags: [tiny, "<b>bold</b>"]
model-index: [{name: x}]
---
# Title of the card

<!-- note for the generator -->
<script>alert(1)</script>

Some <img src=x onerror=alert(2)> and [bad](javascript:alert(3)) and [config](config.json)
![figure](figures/a.png) ![far](https://elsewhere.example/x.png)

| a | b |
|---|---|
| 1 | 2 |
"""


@pytest.fixture
def page(ask, repo, commit_files):
    commit_files(
        repo, {"README.md": CARD, "dir/<i>.txt": b"<b>text</b>", "bin.dat": b"\0\1", "figures/a.png": b"\x89PNG"}
    )
    ask("POST", f"/api/models/{repo}/tag/main", json={"tag": "v1"})
    ask("POST", f"/api/models/{repo}/branch/step10", json={})

    def get(path: str, status: int = 200) -> str:
        answer = ask("GET", path, headers={"Accept": "text/html"})
        assert answer.status == status, answer.body
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        return answer.body.decode()

    return get


def test_card_is_rendered_and_harmless(page, repo):
    text = page(f"/{repo}")
    assert "<h1>Title of the card</h1>" in text
    assert "<td>1</td>" in text
    assert "<th>license</th><td>mit</td>" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;img src=x" in text
    assert "&lt;b&gt;bold" in text
    assert "note for the generator" not in text
    assert not re.search(r"<script|<b>bold|onerror=alert\(2\)>(?!.*&gt;)|href=\"javascript", text)


def test_links_of_a_card_stay_in_the_revision(page, repo):
    text = page(f"/{repo}?revision=v1")
    assert f'href="/{repo}/blob/v1/config.json"' in text
    assert f'src="/{repo}/resolve/v1/figures/a.png"' in text


def test_list_search_and_namespace(page, repo):
    assert f'href="/{repo}"' in page("/")
    assert f'href="/{repo}"' in page("/?search=LAB")
    assert f'href="/{repo}"' not in page("/?search=nothing")
    assert f'href="/{repo}"' not in page("/?type=dataset")
    assert f'href="/{repo}"' in page("/lab")


def test_files_with_sizes_and_raw_links(page, repo, ask):
    text = page(f"/{repo}/tree/main")
    assert "dir/" in text
    assert f'href="/{repo}/resolve/main/config.json"' in text
    assert "8 B" in text
    assert "step10" in text
    assert "v1" in text
    assert "&lt;i&gt;.txt" in page(f"/{repo}/tree/main/dir")
    shown = page(f"/{repo}/blob/main/dir/%3Ci%3E.txt")
    assert "&lt;b&gt;text&lt;/b&gt;" in shown
    assert "Not a text file" in page(f"/{repo}/blob/main/bin.dat")


def test_history_and_changes(page, repo, ask):
    text = page(f"/{repo}/commits/main")
    assert "initial commit" in text
    head = ask("GET", f"/api/models/{repo}").json["sha"]
    shown = page(f"/{repo}/commit/{head}")
    assert re.search(r"changed</span>\s*<span class=\"grow\">README.md", shown)
    assert re.search(r"added</span>\s*<span class=\"grow\">bin.dat", shown)


def test_collections(page, repo, ask):
    made = ask("POST", "/api/collections", json={"title": "All <i>", "namespace": "lab"}).json["slug"]
    item = {"item": {"id": repo, "type": "model"}, "note": "the note"}
    ask("POST", f"/api/collections/{made}/items", json=item)
    assert "All &lt;i&gt;" in page("/collections")
    text = page(f"/collections/{made}")
    assert "the note" in text
    assert f'href="/{repo}"' in text


def test_broken_front_matter_is_said(page, repo, commit_files):
    commit_files(repo, {"README.md": b"---\nlicense: [\n---\n# Still shown\n"})
    text = page(f"/{repo}")
    assert "not valid YAML" in text
    assert "Still shown" in text


def test_problems_are_pages_for_browsers_and_json_for_programs(page, repo, ask):
    assert "Repository not found" in page("/lab/nothing", status=404)
    assert "Entry not found" in page(f"/{repo}/tree/main/nothing", status=404)
    assert ask("GET", "/lab/nothing").json["error"].startswith("Repository not found")


def test_files_cannot_act_as_web_pages(ask, repo, commit_files):
    commit_files(repo, {"page.html": b"<script>alert(1)</script>"})
    answer = ask("GET", f"/{repo}/resolve/main/page.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_sizes_and_names_for_people():
    assert [short_size(n) for n in (0, 999, 1000, 1234, 999_600, 12_000_000, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.23 kB",
        "1 MB",
        "12 MB",
        "5,000 TB",
    ]
    names = ["step10000", "v1", "main", "step2000"]
    assert sorted(names, key=natural_order) == ["main", "step2000", "step10000", "v1"]
