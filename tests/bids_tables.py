"""Random tables of annotations for property tests: texts that break formats, times that no format rounds kindly."""

import pyarrow as pa
from hypothesis import strategies as st

from release_kit.bids.annotations.table import Row, annotation_table

SOURCES = {
    "speechA01": {"level": "speech", "annotator": "A01", "language": "ja"},
    "storyA01": {"level": "story", "annotator": "A01", "language": "en"},
    "storyA02": {"level": "story", "annotator": "A02", "language": "en"},
}
"""annot_id → what its rows share."""

_PIECES = (
    *("a", "男が走る", "é", " ", "\t", "\n", "\n\n", "\r", "\r\n", "\\", "\\n", '"', '""', "'", ",", ";", ":", "/"),
    *("n/a", "..", "-->", "1", "7\n", "<v Bo>", "<i>x</i>", "</v>", "&amp;", "&", "<", ">", "Bo: ", "[3] ", "!", "#"),
    *("\x00", "\x0b", "\x1f", "\x7f", "\x85", "\u2028", "\u00a0", "\ufeff", "\ufffe", "\U0001f600", "WEBVTT", "NOTE"),
)
_anything = st.characters(exclude_categories=("Cs",))
texts = st.one_of(
    st.text(_anything, min_size=1, max_size=8), st.lists(st.sampled_from(_PIECES), min_size=1).map("".join)
)
speakers = st.one_of(st.sampled_from(("Bo", "Walter White", "ジェシー")), texts)
seconds = st.integers(0, 40).map(float)
milliseconds = st.integers(0, 40_000).map(lambda ms: ms / 1000)
wild = st.floats(0, 1e7, allow_nan=False, allow_infinity=False)
times = st.one_of(seconds, milliseconds, wild)

rows = st.builds(
    lambda source, stimulus, onset, duration, text, speaker: Row(
        stim_id=stimulus,
        onset_s=onset + 0.0,
        duration_s=duration + 0.0,
        annot_id=source,
        text=text,
        speaker=speaker,
        **SOURCES[source],
    ),
    st.sampled_from(sorted(SOURCES)),
    st.sampled_from(("bb", "heroes")),
    times,
    st.one_of(st.just(0.0), st.just(1.0), times),
    st.none() | texts,
    st.none() | speakers,
)


def tables(max_rows: int = 8) -> st.SearchStrategy[pa.Table]:
    """Return tables of at most ``max_rows`` rows in canonical order; overlaps and doubles are frequent."""
    return st.lists(rows, max_size=max_rows).map(annotation_table)
