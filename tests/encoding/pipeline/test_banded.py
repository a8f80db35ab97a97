"""A banded search that was interrupted goes on to the same model."""

from pathlib import Path

import numpy as np
import pytest
from encoding_study_factory import ANALYSIS, write_study

from release_kit.encoding.pipeline import banded
from release_kit.encoding.pipeline.choices import CORRECTED, choices_of
from release_kit.encoding.pipeline.designs import Designs, make_features
from release_kit.encoding.pipeline.fits import Group
from release_kit.encoding.pipeline.inputs import open_inputs
from release_kit.encoding.spec.read import read_analysis


class Interrupted(Exception):
    """What ends the search of this test."""


def test_a_search_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    analysis = read_analysis(write_study(tmp_path, subjects=("01",), analysis=ANALYSIS))
    choices = choices_of(analysis, CORRECTED)
    inputs = open_inputs(analysis, choices)
    features = make_features(analysis, inputs, choices, lambda event: None)
    plans = inputs.groups()[0]
    designs = Designs(analysis=analysis, features=features, plan=plans[0], choices=choices)
    group = Group(
        analysis=analysis, inputs=inputs, choices=choices, plans=plans, designs=designs, on_event=lambda event: None
    )
    parts = [features.parts(name)[0] for name in ("story-words", "object-words")]
    search = {"n_iter": 5, "seed": 0}
    unit = group.unit("01", parts, "both", search)
    split = plans[0].splits[0]
    x = [designs.matrices(part, split)[0] for part in parts]
    y = group.cleaned("01").rows(split.train)
    whole = banded.search_bands(group, unit, parts, x, y, split, search)
    banded.forget_search(tmp_path, unit)
    tried = []

    def write_two(path: Path, data: bytes) -> None:
        tried.append(len(data))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if len(tried) == 2:
            raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(banded, "write_atomic", write_two)
        with pytest.raises(Interrupted):
            banded.search_bands(group, unit, parts, x, y, split, search)
    states = list((tmp_path / banded.SEARCHES).iterdir())
    assert len(states) == 1 and int(np.load(states[0])["n_done"]) == 2
    again = banded.search_bands(group, unit, parts, x, y, split, search)
    assert np.array_equal(again.weights, whole.weights) and np.array_equal(again.gamma, whole.gamma)
    states[0].write_bytes(b"damaged")
    assert np.array_equal(banded.search_bands(group, unit, parts, x, y, split, search).weights, whole.weights)
