"""A real receiver of webhooks for tests, which checks each signature and answers as told."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_" + "dGVzdHMtb25seS1uby1zZWNyZXQtYXQtYWxs"


class Receiver:
    """Keeps what it is sent, by webhook-id; verified by the library, not by our own code."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.when_taken: Callable[[], None] = lambda: None
        self.requests = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self.server.server_address[1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.take(dict(self.headers.items()), body)
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        return Handler

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.requests += 1
        Webhook(SECRET).verify(body, headers)  # raises, and the sender gets no answer
        status = self.statuses.pop(0) if self.statuses else 204
        if status < 300:
            self.calls.append((headers["webhook-id"], json.loads(body)))
            self.when_taken()
        return status


@contextlib.contextmanager
def webhook_receiver() -> Iterator[Receiver]:
    """Run a receiver on a port of its own."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()
