"""Many fits in one call give what single fits give."""

from dataclasses import replace

import numpy as np
import pytest
from encoding_solve_factory import ALPHAS, make_problem

from release_kit.encoding.solve.many import fit_many
from release_kit.encoding.solve.ridge import fit_ridge
from release_kit.encoding.solve.settings import RidgeSettings


@pytest.mark.parametrize("backend", ["own", "himalaya"])
def test_every_fit_is_that_of_one_call(backend):
    p = make_problem(80, 30, v=20)
    layers = {"layer-0": p.x[:, :12], "layer-1": np.hstack([p.x, p.x**2, p.x**3])}
    subjects = {"01": p.y, "02": p.y[:, 3:15] * 2}
    settings = RidgeSettings(alphas=ALPHAS, backend=backend)
    found = list(fit_many(layers, subjects, p.folds, settings))
    assert [(one.feature, one.subject) for one in found] == [(a, b) for a in layers for b in subjects]
    for one in found:
        single = fit_ridge(
            layers[one.feature], subjects[one.subject], p.folds, replace(settings, solver=one.fit.solver)
        )
        np.testing.assert_array_equal(one.fit.alpha, single.alpha)
        np.testing.assert_allclose(one.fit.cv_score, single.cv_score, atol=1e-5)
        x = layers[one.feature]
        np.testing.assert_allclose(one.fit.predict(x), single.predict(x), atol=1e-3)


def test_fits_are_made_one_at_a_time():
    p = make_problem(60, 10)
    fits = fit_many({"a": p.x, "b": p.x[:, :5]}, {"one": p.y}, p.folds, RidgeSettings(alphas=ALPHAS))
    assert next(fits).feature == "a"
    assert next(fits).feature == "b"
    with pytest.raises(StopIteration):
        next(fits)
