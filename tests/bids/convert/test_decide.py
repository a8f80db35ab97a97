"""The rule of what may be touched, for any state of a dataset; and one path of each kind."""

from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids.convert.decide import decide

PATHS = st.sampled_from("abcdef")
CONTENTS = st.sampled_from(["1", "2", "3"])


@given(
    wanted=st.dictionaries(PATHS, st.none() | CONTENTS),
    there=st.dictionaries(PATHS, CONTENTS),
    owned=st.dictionaries(PATHS, st.frozensets(CONTENTS, min_size=1)),
    seeds=st.frozensets(PATHS),
)
def test_nothing_that_is_not_conversions_own_is_written_over_or_removed(wanted, there, owned, seeds):
    there = {path: content for path, content in there.items() if path in wanted or path in owned}
    found = decide(wanted, there, owned, seeds)
    for path in found.write:
        assert path not in there or there[path] in owned[path]
    for path in found.remove:
        assert path not in wanted and there[path] in owned[path]
    for path in found.unchanged:
        assert there[path] == wanted[path] or path in seeds
    every = [path for name in found.__dataclass_fields__ for path in getattr(found, name)]
    assert sorted(every) == sorted(wanted.keys() | owned.keys()), "each path is decided about once"


def test_each_kind_of_path():
    wanted = {"new": "1", "right": "1", "old": "2", "foreign": "1", "later": None, "seed": "1"}
    there = {"right": "1", "old": "1", "foreign": "9", "later": "9", "seed": "9", "left": "1", "edited": "9"}
    owned = {"old": {"1"}, "left": {"1"}, "edited": {"1"}, "vanished": {"1"}}
    found = decide(wanted, there, owned, {"seed"})
    assert (found.write, found.unchanged) == (("new", "old"), ("right", "seed"))
    assert (found.refused, found.unsure) == (("foreign",), ("later",))
    assert (found.remove, found.keep, found.gone) == (("left",), ("edited",), ("vanished",))
