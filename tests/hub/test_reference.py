"""References as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import UsageError
from release_kit.hub.reference import REPO_TYPES, Reference, Repo, looks_like_reference, parse_reference

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(
    NAMES,
    NAMES.filter(lambda name: name not in ("tree", "commit")),
    st.sampled_from(REPO_TYPES),
    st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    st.sampled_from([None, "http://127.0.0.1:8080", "https://hub.example.org"]),
)
def test_parsing_a_written_reference_gives_the_same_reference(namespace, name, repo_type, revision, endpoint):
    if namespace in ("models", "datasets", "spaces"):
        return
    reference = Reference(Repo(f"{namespace}/{name}", repo_type), revision, endpoint)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lab/x", Reference(Repo("lab/x"))),
        ("lab/x@v1.0.0", Reference(Repo("lab/x"), "v1.0.0")),
        ("hf://datasets/lab/x@v1", Reference(Repo("lab/x", "dataset"), "v1")),
        ("https://h.co/lab/x/tree/v1", Reference(Repo("lab/x"), "v1", "https://h.co")),
        ("http://127.0.0.1:1/datasets/lab/x@a%2Fb", Reference(Repo("lab/x", "dataset"), "a/b", "http://127.0.0.1:1")),
        ("lab/x@refs/pr/1", Reference(Repo("lab/x"), "refs/pr/1")),
    ],
)
def test_forms_that_people_write(text, expected):
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "a/b/c", "../b", "a/..", "lab/x@", "https://user:secret@h.co/lab/x", "a b/c", "/etc/passwd/x"]
)
def test_what_is_no_reference_is_refused_without_repeating_a_password(text):
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert "secret" not in str(caught.value)
    assert not looks_like_reference(text)
