"""uvicorn's HTTP protocol, plus a way for the application to close the connection in the middle of things.

Kept apart because importing it imports uvicorn.
"""

import socket
import struct

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LINGER_ZERO = struct.pack("ii", 1, 0)


class HubProtocol(HttpToolsProtocol):
    """Puts ``drop_connection`` into the scope of every request."""

    def connection_made(self, transport) -> None:
        """Answer small replies at once: without this, pipelined tiny writes wait for acknowledgements."""
        listener = transport.get_extra_info("socket")
        if listener is not None and listener.family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

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
