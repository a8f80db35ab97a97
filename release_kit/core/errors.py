"""The errors of release_kit: each class knows its own sentence.

Only ``release_kit.cli`` turns these into text and exit codes. A message says what went wrong, where, what was
expected and got, and the next step. Anything that is not a ``ReleaseKitError`` is a programming error and keeps
its traceback.
"""


class ReleaseKitError(Exception):
    """A problem that the user can act on (exit code 1)."""

    transient = False
    """Whether the cause lies outside what was asked for, so that the same work may succeed later."""

    def __init__(self, what: str, *, where: str | None = None, next_step: str | None = None):
        self.what, self.where, self.next_step = what, where, next_step
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """Return ``[where: ]what[ — next step]`` on one line, as the command line prints it."""
        place = f"{self.where}: " if self.where else ""
        step = f" — {self.next_step}" if self.next_step else ""
        return f"{place}{self.what}{step}"

    def to_dict(self) -> dict:
        """Return the parts for ``--json``: ``error`` (class name), ``what``, ``where``, ``next_step``."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "next_step": self.next_step,
        }


class UsageError(ReleaseKitError):
    """The command was called wrongly (exit code 2)."""


class RecordError(ReleaseKitError):
    """A file that release_kit reads does not follow its format; ``where`` names file and dotted key."""


class StudyError(ReleaseKitError):
    """The study contradicts itself or what lies on disk."""


class ArtifactError(ReleaseKitError):
    """An artifact (checkpoint, adapter, table) cannot be read as what it claims to be."""


class UnsafePathError(ReleaseKitError):
    """A path from a foreign source would leave the target folder."""


class HubError(ReleaseKitError):
    """The Hub refused, was unreachable, or answered something that cannot be true."""


class PublishError(ReleaseKitError):
    """A release cannot be published as asked."""


class IntegrityError(ReleaseKitError):
    """Bytes are not what the manifest says."""


class ResourceError(ReleaseKitError):
    """A folder that ships with release_kit is missing from the installation."""


class MissingExtraError(ReleaseKitError):
    """A command needs an optional dependency that is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(
            f"this needs the package {package!r}, which is not installed",
            next_step=f"pip install 'release-kit[{extra}]'",
        )
