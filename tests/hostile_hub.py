"""An endpoint that answers whatever a test tells it to: for lies that a real Hub would never tell."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


class HostileHub:
    """Serves ``answer(method, path, headers)`` on a free port of this machine; a context manager.

    With ``hang_up`` every connection is closed after one answer, without a word about it.
    """

    def __init__(self, answer: Callable[[str, str, dict[str, str]], Answer], *, hang_up: bool = False):
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.command, self.path, headers))
                status, reply_headers, body = answer(self.command, self.path, headers)
                self.send_response(status)
                for name, value in ({"content-length": str(len(body))} | reply_headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = self.close_connection or hang_up

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = reply

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: clients leave when they have heard enough."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "HostileHub":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
