"""How estimates stand on the page of an analysis; the page itself is ``core/page.py``'s, what stands in it
``report_sections.py``'s.
"""

from release_kit.core.pictures import number_text
from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.figures_style import interval_text


def shown(estimate: Estimate | None, decimals: int = 2) -> str:
    """Return an estimate with its interval, or a dash."""
    return "—" if estimate is None else interval_text(estimate, decimals)


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number, or a dash."""
    return "—" if value is None else number_text(value, decimals)


def p_text(estimate: Estimate) -> str:
    """Return the p of an estimate, corrected where it is; a dash without one."""
    p = estimate.p if estimate.p_adjusted is None else estimate.p_adjusted
    return "—" if p is None else f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
