"""What goes wrong in an encoding analysis: the study's runs, levels, features and fits are named."""

from release_kit.core.errors import ReleaseKitError


class AnalysisError(ReleaseKitError):
    """An analysis cannot be run as written, or its inputs do not fit each other."""


class FeatureError(AnalysisError):
    """Features cannot be made: a level that a run lacks, an unreadable model, a text that is none."""


class ResponseError(AnalysisError):
    """Recordings cannot be used: another length, another mask, values that are no numbers."""


class FitError(AnalysisError):
    """A model cannot be fitted: too few samples, no fold, a space without rank."""
