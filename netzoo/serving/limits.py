"""Limits of requests, which hold before a request is read."""

import asyncio
import contextlib
from dataclasses import dataclass

import h11
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS_ANSWERED = "/healthz"
_CLOSE = {"connection": "close"}


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
      request_bytes: Size of a request's body.
      images: Images in a request.
      requests: Requests that are read or answered at once; further requests get status 503.
      upload_seconds: Time until a request's body has arrived.
    """

    request_bytes: int = 32 << 20
    images: int = 16
    requests: int = 64
    upload_seconds: float = 30.0


def too_large(limits: Limits) -> HTTPException:
    """Return the error for a body with too many bytes."""
    return HTTPException(
        413,
        f"the request has more than {limits.request_bytes:,} bytes; send smaller or fewer images",
    )


class Bounded:
    """Middleware that refuses requests beyond the limits, and bodies that grow beyond them."""

    def __init__(self, app: ASGIApp, limits: Limits):
        """Wrap an application."""
        self._app, self._limits, self._active = app, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        # uvicorn has answered and closed already if the rest of the request was not HTTP.
        with contextlib.suppress(h11.LocalProtocolError):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == ALWAYS_ANSWERED:
            return await self._app(scope, receive, send)
        if self._active >= self._limits.requests:
            text = f"the server is answering {self._active} requests already; try again in a second"
            headers = {"retry-after": "1"}
            return await JSONResponse({"error": text}, 503, headers)(scope, receive, send)
        declared = Headers(scope=scope).get("content-length", "0")  # checked by uvicorn
        if int(declared) > self._limits.request_bytes:
            text = too_large(self._limits).detail
            return await JSONResponse({"error": text}, 413)(scope, receive, send)
        self._active += 1
        try:
            await self._app(scope, _bounded(receive, self._limits), send)
        finally:
            self._active -= 1


def _bounded(receive: Receive, limits: Limits) -> Receive:
    """Return a `receive` that raises an HTTPException for a body that is too large or too slow."""
    clock = asyncio.get_running_loop()
    ends, size, complete = clock.time() + limits.upload_seconds, 0, False

    async def next_message() -> Message:
        nonlocal size, complete
        if complete:  # only a disconnect can follow
            return await receive()
        try:
            async with asyncio.timeout_at(ends):
                message = await receive()
        except TimeoutError:
            text = f"the body of the request did not arrive within {limits.upload_seconds:g} s"
            raise HTTPException(408, text, _CLOSE) from None
        size += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if size > limits.request_bytes:
            raise too_large(limits)
        return message

    return next_message
