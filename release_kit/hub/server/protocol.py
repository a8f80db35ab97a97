"""uvicorn's HTTP protocol, plus a way for the application to close the connection in the middle of things.

Kept apart because importing it imports uvicorn.
"""

import asyncio
import socket
import struct

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

JOIN_BYTES = 16 * 1024
LINGER_ZERO = struct.pack("ii", 1, 0)


class JoinedWrites:
    """A transport that sends what is written within one turn of the event loop together.

    The protocol writes head and body of an answer one after the other; one call to the system for both is a quarter
    of the time of a small request.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._transport, self._loop = transport, loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send ``data``, at the latest when the loop gets its turn."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        if len(data) > JOIN_BYTES:
            self._flush()

    def close(self) -> None:
        """Send what waits and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting:
            data, self._waiting = self._waiting, []
            self._transport.write(b"".join(data))

    def __getattr__(self, name: str):
        return getattr(self._transport, name)


class HubProtocol(HttpToolsProtocol):
    """Puts ``drop_connection`` into the scope of every request."""

    def connection_made(self, transport) -> None:
        """Answer small replies at once: without this, pipelined tiny writes wait for acknowledgements."""
        listener = transport.get_extra_info("socket")
        if listener is not None and listener.family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(JoinedWrites(transport, self.loop))

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self.scope["drop_connection"] = self.drop_connection

    def drop_connection(self, *, flush: bool) -> None:
        """Close the connection: after what was written has gone out, or with a reset."""
        if flush:
            self.transport.close()
            return
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.transport.abort()
