"""The application: its paths, what they accept, and their errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from netzoo.errors import UserError, printable
from netzoo.serving.batcher import Batcher
from netzoo.serving.limits import ALWAYS_ANSWERED, Bounded, Limits
from netzoo.tasks.classification.predictor import Predictor

_PATHS = f"POST /predict, GET {ALWAYS_ANSWERED}, GET /docs or GET /openapi.json"
_FILE = {"type": "string", "format": "binary"}
_BODY = {
    "required": True,
    "description": "The bytes of one image file, or a form with one or several files.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"image": {"type": "array", "items": _FILE}},
            }
        },
        "application/octet-stream": {"schema": _FILE},
    },
}


class ClassProbability(BaseModel):
    """A class and its probability."""

    name: str = Field(serialization_alias="class")
    probability: float


class Classified(BaseModel):
    """An image and its most probable classes, best first."""

    name: str = Field(description="name of the file, or empty for a body without a form")
    predictions: list[ClassProbability]


class Answer(BaseModel):
    """The images of a request, in its order."""

    images: list[Classified]


class Health(BaseModel):
    """The answer of a server that is ready."""

    status: str = "ready"
    model: str
    classes: int


class Error(BaseModel):
    """The answer to a request that is refused or fails."""

    error: str = Field(description="one sentence that says what was wrong")


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 408, 413, 422, 503)
}


def create_app(
    predictor: Predictor, batcher: Batcher, title: str, limits: Limits, threads: int = 2
) -> FastAPI:
    """Return the application that classifies images with a predictor.

    Args:
      predictor: Preprocesses images and names classes.
      batcher: Classifies preprocessed images; the application closes it at its end.
      title: What the server serves, e.g. the name of the network.
      limits: See `Limits`.
      threads: Number of threads that decode and resize images.
    """
    decoders = ThreadPoolExecutor(threads, "decoder")

    @contextlib.asynccontextmanager
    async def until_closed(app: FastAPI) -> AsyncIterator[None]:
        yield
        decoders.shutdown()
        batcher.close()

    app = FastAPIOffline(
        redoc_url=None,
        title=title,
        description=f"Classifies images into {len(predictor.class_names)} classes.",
        lifespan=until_closed,
    )
    app.add_middleware(Bounded, limits=limits)
    _add_error_handlers(app)

    @app.get(ALWAYS_ANSWERED)
    async def healthz() -> Health:
        """Say that the server is ready."""
        return Health(model=title, classes=len(predictor.class_names))

    @app.post("/predict", openapi_extra={"requestBody": _BODY}, responses=_ERRORS)
    async def predict(
        request: Request,
        top_k: Annotated[int, Query(ge=1, description="number of classes per image")] = 5,
    ) -> Answer:
        """Classify images."""
        files = await _files(request, limits)
        with batcher.expecting(len(files)):
            images = await _preprocessed(predictor, decoders, files)
            if await request.is_disconnected():
                raise ClientDisconnect
            answers = [asyncio.wrap_future(batcher.submit(image)) for image in images]
        rows = await asyncio.gather(*answers)
        best = predictor.predicted(np.stack(rows), top_k)
        named = zip((name for name, _ in files), best, strict=True)
        return Answer(images=[_classified(name, scores) for name, scores in named])

    return app


def _classified(name: str, scores: list[tuple[str, float]]) -> Classified:
    predictions = [ClassProbability(name=c, probability=p) for c, p in scores]
    return Classified(name=printable(name), predictions=predictions)


async def _files(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """Return the names and bytes of the files of a request."""
    body = await request.body()
    if not body:
        raise HTTPException(400, "the request has no body; send the bytes of an image")
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        return [("", body)]
    boundary = options.get(b"boundary")
    if boundary and not body.rstrip(b"\r\n").endswith(b"--" + boundary + b"--"):
        raise HTTPException(400, "the form ends before its last boundary; send it again")
    async with request.form(max_files=limits.images, max_fields=limits.images) as form:
        files = []
        for field, value in form.multi_items():
            if not isinstance(value, UploadFile):
                raise HTTPException(
                    400,
                    f"the field {field[:100]!r} is a text, expected a file; with curl, "
                    "write -F image=@photo.jpg",
                )
            files.append(((value.filename or "")[:255], await value.read()))
    if not files:
        raise HTTPException(400, "the form has no file; send one or several images")
    return files


async def _preprocessed(
    predictor: Predictor, decoders: ThreadPoolExecutor, files: list[tuple[str, bytes]]
) -> list[np.ndarray]:
    """Decode and resize images in threads, and wait for all, also after an error."""
    loop = asyncio.get_running_loop()
    tasks = (loop.run_in_executor(decoders, predictor.preprocess, data) for _, data in files)
    images = []
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, ((name, _), result) in enumerate(zip(files, results, strict=True), 1):
        if isinstance(result, UserError):
            which = f"image {number} of {len(files)}, {name!r}: " if name else ""
            raise HTTPException(400, f"{which}{result}")
        if isinstance(result, BaseException):
            raise result
        images.append(result)
    return images


def _add_error_handlers(app: FastAPI) -> None:
    """Let every error be answered by one sentence."""

    def answer(status: int, text: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": text}, status, headers)

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> JSONResponse:
        path = printable(request.url.path[:100])
        texts = {
            404: f"unknown path {path}; expected {_PATHS}",
            405: f"{path} does not accept {printable(request.method[:20])}; expected {_PATHS}",
        }
        return answer(error.status_code, texts.get(error.status_code, error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_query(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        found = str(first.get("input"))[:100]
        return answer(422, f"{first['loc'][-1]}: {first['msg']}, got {found!r}")

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return answer(400, "the client closed the connection")

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        return answer(500, "the server failed to classify this request; its log has the error")
