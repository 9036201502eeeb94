"""Answers requests until a signal ends the process."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

_CONNECTIONS = 900  # below the usual limit of 1,024 open files
_HEADER_BYTES = 32 << 10
_DRAIN_SECONDS = 60


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
      opened: Result of `netzoo.serving.address.bind`.
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
    # Otherwise, every damaged form would write a line on standard error.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    # uvicorn raises the signal again at its end, for the handler that was set before.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with contextlib.closing(opened):
            asyncio.run(_Server(config, when_ready).serve([opened]))
    finally:
        signal.signal(signal.SIGTERM, before)
