"""A small study of annotations in memory: two films in three runs, five sources at four levels, two languages."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from release_kit.bids.annotations.table import Row, annotation_table
from release_kit.bids.recipe.model import (
    AnnotationSource,
    DatasetFacts,
    Level,
    Recipe,
    Recording,
    Run,
    Shown,
    Stimulus,
    Subject,
    Task,
)

FILM = Shown(stimulus="film", start_s=0, duration_s=20)
SHORT = Shown(stimulus="short", start_s=0, duration_s=12)
FILM_2 = Shown(stimulus="film", start_s=16, duration_s=20, overlap_s=4, onset_s=2)
RECORDING = Recording(pattern="{source}/{task}_run{run}.nii.gz")

STORY = (
    "A woman waits at the station",
    "She reads a letter from her brother",
    "A stranger takes the seat beside her",
    "He asks for the time",
    "The train to the coast arrives",
    "She leaves the letter on the bench",
)
RETOLD = (
    "A woman is waiting at a station",
    "She reads her brother's letter",
    "A stranger sits down beside the woman",
    "The stranger asks her what time it is",
    "A train arrives",
    "The letter is left behind on the bench",
)


def make_recipe(folder: Path = Path(), **changes: object) -> Recipe:
    """Return the recipe of the study; ``changes`` replace its fields."""
    facts = DatasetFacts(
        name="Two films",
        version="1.0.0",
        authors=("Ada Example", "Ben Example"),
        license="CC0-1.0",
        description="Two films.",
    )
    films = {
        "film": Stimulus(label="film", title="The Film", duration_s=36, language="en", columns={"series": "A"}),
        "short": Stimulus(label="short", title="A Short", duration_s=12, url="https://example.org/short"),
    }
    recipe = Recipe(
        folder=folder,
        dataset=facts,
        subjects=(Subject(label="01", source="AB12"), Subject(label="02", source="CD34")),
        tasks={"film": Task(label="film", name="A film"), "short": Task(label="short", name="A short film")},
        stimuli=films,
        runs=(
            Run(task="film", run=1, tr_s=1, recording=RECORDING, shows=FILM),
            Run(task="film", run=2, tr_s=1, recording=RECORDING, shows=FILM_2, missing={"02": "scanner stopped"}),
            Run(task="short", run=1, tr_s=1, recording=RECORDING, shows=SHORT),
        ),
        levels={"story": Level(name="story", description="What happens", granularity="every 6 s")},
        annotations=(
            source("storyA01", "story", "A01"),
            source("storyA02", "story", "A02"),
            source("storyA01ja", "story", "A01", language="ja", translated_from="storyA01", tool="DeepL"),
            source("objectA01", "object", "A01"),
            source("timeplaceA03", "timeplace", "A03"),
        ),
        sidecars={"events": {"StimulusPresentation": {"SoftwareName": "VLC"}}},
    )  # fmt: skip
    return replace(recipe, **changes)


def source(name: str, level: str, annotator: str, **more: str) -> AnnotationSource:
    """Return a source whose files lie nowhere."""
    values = {"language": "en", "reader": "intervals", "pattern": f"{name}_{{stimulus}}.csv", **more}
    return AnnotationSource(id=name, level=level, annotator=annotator, **values)


def row(annot_id: str, onset: float, duration: float, text: str | None = None, **more: object) -> Row:
    """Return a row of a source of the study (``storyA01`` is level story, annotator A01), of the film in English."""
    level, annotator = annot_id.split("A")[0], "A" + annot_id.split("A")[1][:2]
    values = {"stim_id": "film", "language": "en", **more}
    return Row(
        annot_id=annot_id, level=level, annotator=annotator, onset_s=onset, duration_s=duration, text=text, **values
    )


def good_rows() -> list[Row]:
    """Return annotations without a fault."""
    rows = [row("storyA01", 6 * i, 6, text) for i, text in enumerate(STORY)]
    rows += [row("storyA02", 6 * i, 6, text) for i, text in enumerate(RETOLD)]
    rows += [row("storyA01ja", 6 * i, 6, f"話 {i}", language="ja") for i in range(6)]
    rows += [row("objectA01", i, 1, f"bench, letter {i}") for i in range(36)]
    rows += [row("timeplaceA03", 0, 18, "day, station"), row("timeplaceA03", 18, 18, "day, platform")]
    rows += [row("storyA01", 0, 12, "A dog runs\tand runs\nhome", stim_id="short")]
    return rows


def good_table() -> pa.Table:
    """Return the table of ``good_rows``."""
    return annotation_table(good_rows())
