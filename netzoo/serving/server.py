"""Opens the port and answers requests until a signal ends the process."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from netzoo.errors import UserError

_CONNECTIONS = 900  # below the usual limit of 1,024 open files
_HEADER_BYTES = 32 << 10
_DRAIN_SECONDS = 60


def bind(host: str, port: int) -> socket.socket:
    """Reserve a port, without accepting connections yet; port 0 takes a free one.

    Raises:
      UserError: The address is not one of this machine, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            *(host, port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(address)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        raise UserError(
            f"cannot open port {port} of {host}: {error.strerror}; choose another with --port, "
            "or 0 for a free one"
        ) from None
    return opened


def address_of(opened: socket.socket) -> str:
    """Return the address of a bound socket as a URL."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, when_ready: Callable[[], None]):
        super().__init__(config)
        self._when_ready = when_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._when_ready()


def run(app: FastAPI, opened: socket.socket, when_ready: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C, after which accepted requests are still answered.

    Ctrl-C raises KeyboardInterrupt at the end. After SIGTERM, the function returns.

    Args:
      app: The application.
      opened: Result of `bind`.
      when_ready: Is called once connections are accepted.
    """
    config = uvicorn.Config(
        app,
        http="h11",  # bounds the size of headers; httptools does not
        ws="none",
        h11_max_incomplete_event_size=_HEADER_BYTES,
        limit_concurrency=_CONNECTIONS,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    # uvicorn raises the signal again at its end, for the handler from before.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with contextlib.closing(opened):
            asyncio.run(_Server(config, when_ready).serve([opened]))
    finally:
        signal.signal(signal.SIGTERM, before)
