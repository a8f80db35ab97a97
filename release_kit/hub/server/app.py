"""The ASGI application of one Hub: answers, records and, when asked to, misbehaves on purpose.

Owns what is common to all requests: errors, records of requests, faults. Meaning is in ``routing`` and below.
"""

import logging

from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request, Send, send_reply
from release_kit.hub.server.records import RequestLog, RequestRecord
from release_kit.hub.server.replies import HttpError, Reply
from release_kit.hub.server.routing import answer

logger = logging.getLogger("release_kit.hub.server")


class HubApp:
    """The application.

    Args:
        hub: the opened Hub.
        log: where finished requests are noted.
    """

    def __init__(self, hub: Hub, log: RequestLog):
        self.hub, self.log = hub, log

    async def __call__(self, scope: dict, receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        request = Request(scope, receive)
        await self._plain(request, send)

    async def _plain(self, request: Request, send: Send) -> None:
        reply = await self._reply(request)
        n_out = await send_reply(send, reply, head_only=request.method == "HEAD")
        self.log.add(RequestRecord(request.method, request.path, reply.status, request.n_bytes_in, n_out))

    async def _reply(self, request: Request) -> Reply:
        try:
            return await answer(self.hub, request)
        except HttpError as error:
            return error.reply()
        except ConnectionResetError:
            return Reply(status=499)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return HttpError(500, "The local Hub failed on this request; its log has the reason").reply()
