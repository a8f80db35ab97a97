"""What can go wrong at a Hub, one class for each thing that a caller may want to do something about."""

from release_kit.core.errors import HubError


class NotFoundError(HubError):
    """A repo, revision or file does not exist, or this token may not see it; ``code`` is the Hub's own word for it."""

    code: str = ""


class AccessError(HubError):
    """There is no token, or it has no right to do this."""


class ConflictError(HubError):
    """Something of that name exists already (409), or the branch has moved (412); ``slug`` of a collection."""

    slug: str = ""


class MovedError(ConflictError):
    """A branch is no longer at the commit that a change was made for."""


class UnreachableError(HubError):
    """Nobody answers at the endpoint, or it keeps failing."""


class RateLimitedError(UnreachableError):
    """The Hub asks for more patience than was given."""


class AbsurdReplyError(HubError):
    """The Hub answered something that cannot be true; nothing of it was used."""


class RefusedError(HubError):
    """The Hub refused a request for a reason of its own; ``status`` is the HTTP status."""

    status: int = 0
