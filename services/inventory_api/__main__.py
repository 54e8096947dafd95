"""``python -m inventory_api --port 18212``: serve until told to stop."""

from __future__ import annotations

import argparse
import socket

import uvicorn

from inventory_api.app import create_app
from inventory_api.events import Hub
from inventory_api.observe import configure_logging
from inventory_api.settings import Settings


class Server(uvicorn.Server):
    """A server that ends the event streams before it waits for open requests."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._hub.close()
        await super().shutdown(sockets)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    configure_logging()
    app = create_app(Settings.from_environment())
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        access_log=False,  # the app writes its own, without query strings
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=15,
        limit_concurrency=2_000,
    )
    Server(config, app.state.hub).run()


if __name__ == "__main__":
    main()
