"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

logger = logging.getLogger(__name__)
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class APIError(HTTPException):
    """An error of a request, with the field that caused it and a code for programs."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, **headers: str):
        super().__init__(status, message, {name.replace("_", "-"): value for name, value in headers.items()} or None)
        self.param, self.code = param, code


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(status: int, message: str, *about: str | None, headers: Any = None) -> JSONResponse:
    return JSONResponse(error_body(status, message, *about), status, headers)


def add_handlers(app: FastAPI) -> None:
    """Give every error of an application this form."""

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        about = (getattr(error, "param", None), getattr(error, "code", None))
        return error_response(error.status_code, str(error.detail), *about, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
        if first["type"] == "json_invalid":
            return error_response(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}.")
        given = request.headers.get("content-type", "")
        if tuple(first["loc"]) == ("body",) and "json" not in given.lower():
            message = f"the content type is {given!r:.80}: send JSON with the header `content-type: application/json`."
            return error_response(415, message)
        param = ".".join(where) or None
        if first["type"] == "missing" and param == "audio_sample" and "multipart/form-data" not in given.lower():
            message = (
                f"the content type is {given!r:.80}: send a form with the fields name and audio_sample (curl -F)."
            )
            return error_response(415, message)
        return error_response(400, f"{param or 'the body'}: {first['msg']}.", param)

    @app.exception_handler(Exception)
    async def of_us(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(500, "the server failed; its log says why.")
