"""YAML of strangers is refused before it can do harm."""

import pytest

from release_kit.core.foreign_yaml import check_foreign_yaml


@pytest.mark.parametrize("text", ["[" * 100_000, "a: &x [1]\nb: *x\n", "{a: " * 60 + "1" + "}" * 60])
def test_bombs_are_refused(text):
    with pytest.raises(ValueError, match=r"levels in one another|aliases"):
        check_foreign_yaml(text)


def test_cards_of_a_usual_shape_pass():
    check_foreign_yaml("license: mit\nmodel-index:\n- name: x\n  results: [{metrics: [{value: 1}]}]\n")
