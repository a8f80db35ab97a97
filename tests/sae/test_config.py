"""A configuration is the same after writing and reading; what contradicts itself is refused, all at once."""

import pytest

from release_kit.core.errors import RecordError
from release_kit.core.records import Fields
from release_kit.sae.config import SaeConfig
from release_kit.sae.errors import SaeError

SMALL = {"d_in": 8, "n_features": 32}
GOOD = {
    "topk": {"architecture": "topk", "k": 4, "normalise": "unit-norm"},
    "one scale": {"architecture": "topk", "k": 4, "normalise": "rms", "rms_scale": 0.25},
    "batchtopk": {"architecture": "batchtopk", "k": 4, "aux_k": 4, "dead_after_tokens": 10},
    "jumprelu": {"architecture": "jumprelu", "l0_coefficient": 0.5, "bandwidth": 0.01},
    "matryoshka": {"architecture": "matryoshka", "k": 4, "groups": (8, 32), "selection": "topk"},
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_written_is_read_as_it_was(name: str):
    config = SaeConfig(**SMALL, **GOOD[name])
    assert SaeConfig.from_fields(Fields(config.to_json(), "here")) == config
    assert len(config.digest()) == 64


def test_any_difference_is_another_digest():
    digests = {SaeConfig(**SMALL, **fields).digest() for fields in GOOD.values()}
    assert len(digests) == len(GOOD)
    assert SaeConfig(**SMALL, **GOOD["topk"]).digest() == SaeConfig(**SMALL, **GOOD["topk"]).digest()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"architecture": "gated", "k": 4}, "`architecture` is 'gated', expected one of topk, batchtopk"),
        ({"architecture": "topk"}, "`k` is None, expected 1 to 32"),
        ({"architecture": "topk", "k": 33}, "`k` is 33, expected 1 to 32"),
        ({"architecture": "jumprelu", "k": 4}, "`k` is for architectures that select by number"),
        ({"architecture": "topk", "k": 4, "normalise": "rms"}, "`rms_scale` belongs to"),
        ({"architecture": "topk", "k": 4, "rms_scale": 2.0}, "`rms_scale` belongs to"),
        ({"architecture": "topk", "k": 4, "groups": (8, 32)}, "belong to `matryoshka`"),
        ({"architecture": "matryoshka", "k": 4}, r"`groups` is \[\], expected ascending sizes up to 32"),
        ({"architecture": "matryoshka", "k": 4, "groups": (8, 8, 32)}, "expected ascending sizes"),
        ({"architecture": "matryoshka", "k": 4, "groups": (8, 16)}, "expected ascending sizes"),
        ({"architecture": "topk", "k": 4, "aux_k": 33}, "`aux_k` is 33 of 32 features"),
        ({"architecture": "jumprelu", "bandwidth": 0.0}, "`bandwidth` is 0.0"),
        ({"architecture": "topk", "k": 4, "dead_after_tokens": 0}, "`dead_after_tokens` is 0, expected 1 or more"),
    ],
)
def test_contradictions_are_refused_by_name(fields: dict, said: str):
    with pytest.raises(SaeError, match=said):
        SaeConfig(**SMALL, **fields)


def test_everything_wrong_is_said_at_once():
    with pytest.raises(SaeError) as caught:
        SaeConfig(architecture="topk", d_in=0, n_features=32, k=0, normalise="z", bandwidth=-1)
    assert all(f"`{name}`" in caught.value.what for name in ("d_in", "k", "normalise", "bandwidth"))


def test_unknown_keys_and_types_are_refused_with_their_place():
    good = SaeConfig(**SMALL, **GOOD["topk"]).to_json()
    with pytest.raises(RecordError, match="`n_feature` is not a known key; did you mean 'n_features'"):
        SaeConfig.from_fields(Fields({**good, "n_feature": 3}, "cfg.json"))
    with pytest.raises(RecordError, match="`d_in` expected int"):
        SaeConfig.from_fields(Fields({**good, "d_in": "8"}, "cfg.json"))
