"""The ASGI application of one Hub: answers, notes and, when a plan says so, misbehaves on purpose.

Owns what is common to all requests: errors, limits, records, faults. Meaning is in ``routing`` and below.
"""

import logging
import sqlite3

from release_kit.hub.server import misbehave
from release_kit.hub.server.context import Hub
from release_kit.hub.server.faults import SIDE_EFFECTS, Fault, FaultPlan
from release_kit.hub.server.http import Request, Send, send_reply
from release_kit.hub.server.records import RequestLog, RequestRecord
from release_kit.hub.server.replies import HttpError, Reply
from release_kit.hub.server.routing import answer

logger = logging.getLogger("release_kit.hub.server")
CLIENT_LEFT = 499
NO_ANSWER = 0


class HubApp:
    """The application.

    Args:
        hub: the opened Hub.
        log: where finished requests are noted.
        plan: what goes wrong; may be replaced at any time.
    """

    def __init__(self, hub: Hub, log: RequestLog, plan: FaultPlan | None = None):
        self.hub, self.log, self.plan = hub, log, plan or FaultPlan()

    async def __call__(self, scope: dict, receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        request = Request(scope, receive)
        fault = self._strike(request) if self.plan.faults else None
        if fault is None:
            await self._answer(request, send)
        else:
            await self._misbehave(request, send, fault)

    async def _answer(self, request: Request, send: Send) -> None:
        reply = await self._reply(request)
        await self._finish(request, send, reply, reply.length)

    async def _finish(self, request: Request, send: Send, reply: Reply, n_out: int) -> None:
        """Note the request, then answer: whoever has the answer finds the request in the log."""
        head_only = request.method == "HEAD"
        self._note(request, reply.status, 0 if head_only else n_out)
        await send_reply(send, reply, head_only=head_only)

    def _note(self, request: Request, status: int, n_out: int) -> None:
        self.log.add(RequestRecord(request.method, request.path, status, request.n_bytes_in, n_out))

    async def _reply(self, request: Request) -> Reply:
        try:
            limits = self.hub.limiter.take(request) if self.hub.limiter else None
            reply = await answer(self.hub, request)
            if limits:
                reply.headers += limits
            await self.hub.database.settle()
            return reply
        except HttpError as error:
            return error.reply()
        except UnicodeEncodeError:
            return HttpError(400, "The request holds text that is not valid Unicode").reply()
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, ConnectionResetError):
                return Reply(status=CLIENT_LEFT)
            logger.error("%s %s: %s", request.method, request.path, error)
            return HttpError(507, f"The local Hub could not write or read its folder: {error}").reply()
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return HttpError(500, "The local Hub failed on this request; its log has the reason").reply()

    def _strike(self, request: Request) -> Fault | None:
        """Cause the side effects of the plan and return what else is to happen."""
        for fault in self.plan.pick(request.method, request.path):
            if fault.kind not in SIDE_EFFECTS:
                return fault
            misbehave.cause_side_effect(self.hub, request, fault)
        return None

    async def _misbehave(self, request: Request, send: Send, fault: Fault) -> None:
        if fault.kind == "status":
            await misbehave.read_some(request, None)
            reply = misbehave.error_reply(fault)
            await self._finish(request, send, reply, reply.length)
        elif fault.kind in misbehave.BODY_FAULTS:
            await self._spoil(request, send, fault)
        else:
            await self._lose(request, fault)

    async def _spoil(self, request: Request, send: Send, fault: Fault) -> None:
        reply = await self._reply(request)
        spoiled = misbehave.BodyFault(send, fault, reply.length)
        await self._finish(request, spoiled, reply, spoiled.n_bytes)
        if spoiled.ended_early:
            await misbehave.drop(request, flush=True)

    async def _lose(self, request: Request, fault: Fault) -> None:
        if fault.kind == "lost-reply":
            await self._reply(request)
        elif fault.at_byte:
            await misbehave.read_some(request, fault.at_byte)
        self._note(request, NO_ANSWER, 0)
        await misbehave.drop(request, flush=False)
