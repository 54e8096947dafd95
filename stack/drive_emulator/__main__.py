"""Serve the emulator: ``python -m drive_emulator``."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from drive_emulator.app import Emulator
from drive_emulator.config import Config


def main() -> None:
    """Read the arguments, and serve until stopped."""
    parser = argparse.ArgumentParser(prog="drive_emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--browse", action="store_true", help="pages for a person, without login")
    arguments = parser.parse_args()
    uvicorn.run(
        Emulator(Config.read(arguments.config), arguments.data, browse=arguments.browse),
        host=arguments.host,
        port=arguments.port,
        ssl_certfile=arguments.certificate,
        ssl_keyfile=arguments.key,
        loop="asyncio",
        http="h11",
        access_log=False,  # an upload's address is a secret, and stands in its query
        log_level="warning",
        timeout_graceful_shutdown=5,
    )


main()
