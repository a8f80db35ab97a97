"""Short ways for tests of annotation readers: a file of the given text, its rows, what is wrong with it."""

from pathlib import Path
from typing import Any

from release_kit.bids.annotations.problems import AnnotationError
from release_kit.bids.annotations.read import read_annotations
from release_kit.bids.annotations.table import Row
from release_kit.bids.recipe.model import AnnotationSource, Recording, Run, Shown, Stimulus

FILM = Stimulus(label="film", title="A Film", duration_s=100)


def source(reader: str, *, clock: str = "stimulus", encoding: str | None = None, **options: Any) -> AnnotationSource:
    """Return a source ``storyA01`` in Japanese with the given reader and its options."""
    return AnnotationSource(
        id="storyA01",
        level="story",
        annotator="A01",
        language="ja",
        reader=reader,
        pattern="x.txt",
        clock=clock,
        encoding=encoding,
        options=options,
    )


def run_of(start_s: float, *, onset_s: float = 0.0, run: int = 1) -> Run:
    """Return a run that shows 20 s of the film from ``start_s`` on."""
    shows = Shown(stimulus="film", start_s=start_s, duration_s=20, onset_s=onset_s)
    return Run(task="film", run=run, tr_s=1.0, recording=Recording(pattern="x.nii.gz"), shows=shows)


def read(folder: Path, content: str | bytes, how: AnnotationSource, run: Run | None = None) -> list[Row]:
    """Write ``content`` to ``folder/annotations.txt`` and return its rows."""
    path = folder / "annotations.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_annotations(path, how, FILM, run)


def spans(rows: list[Row]) -> list[tuple[float, float, str | None, str | None]]:
    """Return (onset, duration, text, speaker) of rows."""
    return [(row.onset_s, row.duration_s, row.text, row.speaker) for row in rows]


def problems(folder: Path, content: str | bytes, how: AnnotationSource, run: Run | None = None) -> list[str]:
    """Return ``line: what`` of everything that is wrong with a file; fail when nothing is."""
    try:
        rows = read(folder, content, how, run)
    except AnnotationError as error:
        assert all(problem.path == str(folder / "annotations.txt") for problem in error.problems)
        return [f"{problem.line}: {problem.what}" for problem in error.problems]
    raise AssertionError(f"nothing was refused; read {rows}")
