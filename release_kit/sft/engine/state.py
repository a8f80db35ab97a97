"""How a fine-tuning study stands: its units, and what finished ones took, from the provenance of their cells."""

import json
from collections.abc import Mapping, Sequence

from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.study import Level, Study
from release_kit.engine.state import StudyState, read_state
from release_kit.sft.engine.agreed import agree_together
from release_kit.sft.engine.units import Unit, plan_units


def read_study_state(
    study: Study, select: Mapping[str, Sequence[Level]] | None = None, *, together: int | None = None
) -> StudyState:
    """Return where the study stands.

    Args:
        study: the study.
        select: partial levels, as for ``run_study``.
        together: as for ``run_study``.

    Raises:
        StudyError: the study cannot be planned.
    """
    units = plan_units(study, select, together=agree_together(study.folder, together))
    return read_state(study.folder, units, lambda unit: _seconds_of(study, unit))


def _seconds_of(study: Study, unit: Unit) -> float | None:
    """Return what a unit took, training and evaluation, from the provenance of its cells."""
    total = 0.0
    for number, one in enumerate(unit.cell_ids):
        try:
            made = json.loads((cell_folder(study.folder, one) / CELL_FILE).read_bytes())["provenance"]
        except (OSError, ValueError, KeyError):
            return None
        total += made.get("evaluation_seconds") or 0.0
        total += (made.get("seconds") or 0.0) if number == 0 else 0.0
    return total
