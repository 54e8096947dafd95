"""A broker that can be taken away: a port that leads to the running one, or nowhere."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from support.stack_env import needed


class _Forward(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.create_connection(self.server.target, 10) as upstream:  # type: ignore[attr-defined]
            back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
            back.start()
            _pump(self.request, upstream)


def _pump(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(2)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextlib.contextmanager
def way_to_broker(port: int) -> Iterator[None]:
    """Let the broker be reached at a port, until the end of the block."""
    broker = urlsplit(needed("AMQP_ODOO_URL"))
    with _Server(("127.0.0.1", port), _Forward) as server:
        server.target = (broker.hostname, broker.port)  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
