"""All pictures of an analysis, in the order of the report: ``draw_pictures`` is what others call.

Owns the order and nothing else; single pictures are in ``figures_*.py``, how they look in ``figures_style.py``.
"""

from release_kit.core.pictures import Picture, styled
from release_kit.sft.analysis.figures_gains import gain_pictures
from release_kit.sft.analysis.figures_models import model_pictures
from release_kit.sft.analysis.figures_pairs import pair_pictures, verdict_picture
from release_kit.sft.analysis.figures_relations import relation_pictures
from release_kit.sft.analysis.records import Analysis


def draw_pictures(analysis: Analysis) -> list[Picture]:
    """Draw every picture that the analysis has data for; the same analysis gives the same bytes.

    Args:
        analysis: what was found. Parts that are empty give no picture.

    Returns:
        Pictures with names that differ: verdicts first, then gains, epochs, tasks, comparisons, properties of data,
        depth, the map of models and components.
    """
    with styled():
        first = verdict_picture(analysis)
        pictures = [first] if first is not None else []
        for drawn in (gain_pictures, pair_pictures, relation_pictures, model_pictures):
            pictures += drawn(analysis)
    return pictures
