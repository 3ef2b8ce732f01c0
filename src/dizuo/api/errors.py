"""The one function that makes every JSON error, in the OpenAI shape and in the reader's language."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Scope

from dizuo.core.errors import DizuoError, ModelBusy, ModelError, ModelRefused, TooMany
from dizuo.platform.catalogue import Language, _, pick_language, translate

logger = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """What went wrong. `param` names the field or header at fault, where there is one."""

    message: str
    type: str
    code: str
    param: str | None
    request_id: str


class ErrorBody(BaseModel):
    """The body of every response that is not a success."""

    error: ErrorDetail


_ERROR_SCHEMA = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}

# What an operation may answer with besides success. Merged into every operation of the OpenAPI description. By the name
# of the schema, which api/health.py brings along: a model here would be built anew for each status of each operation,
# which was a seventh of what the server's start took.
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
    for status in (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503)
}

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    502: "upstream_error",
}

# How a failed check of pydantic's reads. The rest are shown in pydantic's own English.
_VALIDATION = {
    "missing": _("{param} is missing."),
    "json_invalid": _("The body is not valid JSON: {error} at character {position}."),
    "string_too_short": _("{param} needs at least {min_length} character(s)."),
    "string_too_long": _("{param} may have {max_length} characters at most."),
    "string_pattern_mismatch": _("{param} is {input}, which does not have the form {pattern}."),
    "string_type": _("{param} must be text."),
    "int_type": _("{param} must be a whole number."),
    "int_parsing": _("{param} must be a whole number, not {input}."),
    "int_from_float": _("{param} must be a whole number, not {input}."),
    "float_type": _("{param} must be a number."),
    "float_parsing": _("{param} must be a number, not {input}."),
    "bool_type": _("{param} must be true or false."),
    "bool_parsing": _("{param} must be true or false, not {input}."),
    "list_type": _("{param} must be a list."),
    "too_short": _("{param} needs at least {min_length} entries."),
    "too_long": _("{param} may have {max_length} entries at most."),
    "literal_error": _("{param} must be one of {expected}, not {input}."),
    "greater_than": _("{param} must be greater than {gt}."),
    "greater_than_equal": _("{param} must be at least {ge}."),
    "less_than_equal": _("{param} must be at most {le}."),
    "model_attributes_type": _("{param} must be a JSON object."),
    "dict_type": _("{param} must be a JSON object."),
    "union_tag_invalid": _("{param} has the type {tag}; there are: {expected_tags}."),
    "union_tag_not_found": _("{param} has no type; there are: {expected_tags}."),
}


@dataclass(frozen=True)
class Problem:
    """An error ready to be said: a text of the catalogue, its parameters, and what HTTP adds to it."""

    status: int
    code: str
    template: str
    params: Mapping[str, Any] = field(default_factory=dict)
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    said: str = ""  # said in full already (several validation errors, an event of a stream); wins over template


def problem(error: BaseException, language: Language = "en", request: Request | None = None) -> Problem:
    """What to tell the caller about an exception. An unforeseen one tells nothing of its inside."""
    match error:
        case DizuoError():
            return _of_dizuo(error)
        case RequestValidationError():
            return _of_validation(error.errors(), language, request)
        case HTTPException():
            return _of_http(error, request)
        case _:
            return Problem(
                500,
                "internal_error",
                _("This is a bug in Dizuo. The server's log has the details under the request id {request_id}."),
            )


def body(found: Problem, language: Language, request_id: str) -> ErrorBody:
    """The JSON of a problem."""
    default = "server_error" if found.status >= 500 else "invalid_request_error"
    message = found.said or translate(found.template, language, **{"request_id": request_id, **found.params})
    return ErrorBody(
        error=ErrorDetail(
            message=message,
            type=_TYPES.get(found.status, default),
            code=found.code,
            param=found.param,
            request_id=request_id,
        )
    )


def response(scope: Scope, error: BaseException) -> JSONResponse:
    """The response to a request that ended in an exception."""
    request = Request(scope)
    language = reader_language(request)
    found = problem(error, language, request)
    content = body(found, language, request_id(scope)).model_dump(mode="json")
    return JSONResponse(content, status_code=found.status, headers=dict(found.headers))


def request_id(scope: Scope) -> str:
    """The id that the middleware gave this request."""
    return scope.get("state", {}).get("request_id", "")


def reader_language(request: Request) -> Language:
    """The setting, or what the Accept-Language header asks for."""
    house = getattr(request.app.state, "house", None)
    wanted = house.settings.language if house else "auto"
    return pick_language(wanted, accept=request.headers.get("accept-language", ""))


def install(app: FastAPI) -> None:
    """Sends every exception of a route through `response`. Unforeseen ones are caught by the middleware."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, ModelError):
            logger.warning("model failed: %s", error)
        return response(request.scope, error)

    for kind in (DizuoError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)


def _of_dizuo(error: DizuoError) -> Problem:
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    wait_s = error.params.get("seconds" if isinstance(error, TooMany) else "retry_after_s")
    if isinstance(error, TooMany | ModelBusy) and isinstance(wait_s, int | float):
        headers["Retry-After"] = str(math.ceil(wait_s))
    if isinstance(error, ModelRefused):
        headers["X-Should-Retry"] = "false"  # official clients ask again after any 502 but this
    # An error may name the field at fault; `param` is then no part of its text.
    named = error.params.get("param")
    return Problem(
        error.status, error.code, error.template, error.params, str(named) if named is not None else None, headers
    )


def _of_http(error: HTTPException, request: Request | None) -> Problem:
    path = request.url.path if request else ""
    method = request.method if request else ""
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return Problem(
                404, "not_found", _("There is nothing at {path}. /api/openapi.json lists all that is."), {"path": path}
            )
        case 405:
            allowed = headers.get("Allow", headers.get("allow", ""))
            text = _("{path} does not know the method {method}; it knows {allowed}.")
            return Problem(
                405, "method_not_allowed", text, {"path": path, "method": method, "allowed": allowed}, headers=headers
            )
        case 413:
            return Problem(413, "too_large", _("The request is larger than this address takes. Send less at once."))
        case 400:
            return Problem(
                400, "invalid_request", _("The body could not be read: {reason}"), {"reason": str(error.detail)}
            )
        case status:
            code = "invalid_request" if status < 500 else "internal_error"
            return Problem(status, code, "{reason}", {"reason": str(error.detail)}, headers=headers)


def _of_validation(errors: Sequence[Any], language: Language, request: Request | None) -> Problem:
    # Where one of several forms was meant, its faults lie deeper than that it is none of the others.
    params = [_param(one) for one in errors]
    errors = [
        one
        for one, param in zip(errors, params, strict=True)
        if not any(other.startswith((f"{param}.", f"{param}[")) for other in params)
    ]
    said = list(dict.fromkeys(_said(one, language) for one in errors))
    if len(said) > 5:
        said = [*said[:5], "…"]
    unknown = next((one for one in errors if one["type"] == "unknown_parameter"), None)
    first = unknown or errors[0]
    code = "unknown_parameter" if unknown else "invalid_parameter"
    # 400 is what the OpenAI protocol has for all that is wrong with a request.
    status = 400 if request is not None and request.url.path.startswith("/v1/") else 422
    return Problem(status, code, "", param=_param(first), said=" ".join(said))


def _param(error: Mapping[str, Any]) -> str:
    """The field at fault as people write it: messages[0].content."""
    context = error.get("ctx") or {}
    if error["loc"] and error["loc"][0] == "header":
        return str(error["loc"][-1])
    path = ""
    places = (
        error["loc"][1:] if error["loc"] and error["loc"][0] in ("body", "query", "path", "header") else error["loc"]
    )
    for place in [*places, *([context["name"]] if error["type"] == "unknown_parameter" else [])]:
        if isinstance(place, str) and not place.isidentifier() and error["type"] != "unknown_parameter":
            continue  # which form of several pydantic tried: "constrained-str", "list[TextPart]"
        path += f"[{place}]" if isinstance(place, int) else f".{place}" if path else str(place)
    return path or "body"


def _said(error: Mapping[str, Any], language: Language) -> str:
    param = _param(error)
    context = error.get("ctx") or {}
    if error["type"] == "unknown_parameter":
        return translate(context["template"], language, **context["params"])
    if error["type"] == "json_invalid":
        context = {"error": context.get("error", ""), "position": error["loc"][-1]}
    template = _VALIDATION.get(error["type"])
    if template is None:
        return f"{param}: {error['msg']}."
    if error["type"].startswith("union_tag"):
        context = {name: str(said).translate({60: None, 62: None}) for name, said in context.items()}  # without <>
    value = repr(error.get("input"))
    shown = value if len(value) <= 80 else f"{value[:80]}…"
    return translate(template, language, param=param, input=shown, **{k: v for k, v in context.items() if k != "param"})
