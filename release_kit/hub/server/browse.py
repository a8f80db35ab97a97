"""Pages for people with a browser."""

from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request
from release_kit.hub.server.replies import HttpError, Reply


async def page(hub: Hub, request: Request, segments: list[str]) -> Reply:
    """GET of a page."""
    raise HttpError(404, f"There is no page {request.path[:200]}", code="RepoNotFound")
