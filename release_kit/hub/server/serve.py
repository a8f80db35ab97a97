"""Running the application: in a thread of this process, or as the whole work of a process.

With ``protocol`` the only import point of uvicorn. Uses its HTTP protocol on a socket of our own, so that start and
stop take milliseconds and the address is known before the first request.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from release_kit.core.errors import HubError
from release_kit.hub.server.app import HubApp
from release_kit.hub.server.auth import check_binding
from release_kit.hub.server.context import Durability, Hub, HubSettings
from release_kit.hub.server.faults import Fault, FaultPlan, FiredFault
from release_kit.hub.server.records import RequestLog, RequestRecord

KEEP_ALIVE_S = 120
STOP_S = 5.0


class HubServer:
    """One Hub on one socket; ``run`` serves until ``stop`` is called from any thread.

    Args:
        settings: how the Hub behaves.
        host: address to listen on.
        port: 0 takes a free one.
        log: where requests are noted.
        plan: what goes wrong on purpose.

    Raises:
        UsageError: ``host`` is not loopback and there are no tokens.
        HubError: the port is taken, or the folder is in use.
    """

    def __init__(
        self,
        settings: HubSettings,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        log: RequestLog | None = None,
        plan: FaultPlan | None = None,
    ):
        check_binding(host, settings.access)
        self.socket = _listen(host, port)
        self.log = log or RequestLog()
        try:
            self.hub = Hub(settings)
        except BaseException:
            self.socket.close()
            raise
        self.app = HubApp(self.hub, self.log, plan)
        self._config, self._state = _protocol_config(self.app)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def endpoint(self) -> str:
        """The address, as ``HF_ENDPOINT`` takes it."""
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self, announce: Callable[[], None] | None = None) -> None:
        """Serve until stopped, then finish running requests and close the folder.

        Args:
            announce: called when requests are answered.
        """
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config, state = self._config, self._state
        factory = partial(config.http_protocol_class, config=config, server_state=state, app_state={})
        server = await self._loop.create_server(factory, sock=self.socket, backlog=1024)
        self.hub.database.share_waits()
        self.ready.set()
        if announce:
            announce()
        try:
            await self._stop.wait()
        finally:
            server.close()
            await _drain(self._state)
            self.hub.close()
            self.log.close()

    def stop(self) -> None:
        """Ask a running server to end; may be called from any thread and more than once."""
        if self._loop and self._stop:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)


class LocalHub:
    """A Hub in a thread of this process, for tests, rehearsals and the demo.

    Args:
        root: folder of the index and the content; made when it is missing.
        port: 0 takes a free one.
        durability: ``full`` survives a power cut, ``fast`` survives a killed process.
        log: where requests are noted; kept in memory by default.
        settings: more settings, see ``HubSettings``.
    """

    def __init__(
        self,
        root: Path,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        durability: Durability = "fast",
        log: RequestLog | None = None,
        **settings,
    ):
        wish = HubSettings(root=Path(root), durability=durability, **settings)
        self.server = HubServer(wish, host=host, port=port, log=log)
        self.endpoint = self.server.endpoint
        self._thread = threading.Thread(target=asyncio.run, args=(self.server.run(),), name="local-hub", daemon=True)

    def __enter__(self) -> "LocalHub":
        """Start serving."""
        self._thread.start()
        self.server.ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop serving and close the folder."""
        self.server.stop()
        self._thread.join()

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests answered so far, oldest first."""
        return list(self.server.log.records)

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self.server.log.records.clear()

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Let these things go wrong from now on; counting starts at 1 again."""
        self.server.app.plan = FaultPlan(faults)

    def clear_faults(self) -> None:
        """Behave again."""
        self.server.app.plan = FaultPlan()

    @property
    def fired_faults(self) -> list[FiredFault]:
        """The faults that happened since the last ``set_faults``."""
        return list(self.server.app.plan.fired)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        message = f"cannot listen on {host}:{port} ({error})"
        raise HubError(message, next_step="choose another --host or --port") from error
    listener.setblocking(False)
    return listener


def _protocol_config(app: HubApp):
    import uvicorn
    from uvicorn.server import ServerState

    from release_kit.hub.server.protocol import HubProtocol

    config = uvicorn.Config(
        app,
        http=HubProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
    )
    config.load()
    return config, ServerState()


async def _drain(state) -> None:
    """Let running requests finish, then close every connection."""
    for protocol in list(state.connections):
        protocol.shutdown()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=STOP_S)
    for protocol in list(state.connections):
        protocol.transport.abort()
    await asyncio.sleep(0)
