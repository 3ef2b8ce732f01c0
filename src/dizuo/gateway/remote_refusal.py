"""What a provider refuses, as the error that says who can mend it, with the provider's own words quoted."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from dizuo.core.errors import ModelBusy, ModelDown, ModelError, ModelRefused
from dizuo.platform.catalogue import _

_LONGEST_PAUSE_S = 86_400.0


class RequestRefused(ModelRefused):
    """The request is at fault, and so is whoever made it: an answer to him like any other bad request."""

    status = 400
    code = "invalid_request"


class ModelUnknown(ModelRefused):
    """The provider has no model of that name."""

    status = 404
    code = "not_found"


@dataclass(frozen=True)
class Who:
    """What messages say of a provider's model, and what they must never say (`secrets`)."""

    name: str
    upstream: str
    base: str
    host: str
    settings: str
    secrets: tuple[str, ...]


def refusal(who: Who, status: int, headers: Mapping[str, str], body: bytes, url: str) -> ModelError:
    """The error for a response that is no answer."""
    if 300 <= status < 400:
        return ModelRefused(
            "{host} redirects to {target}. Redirects are not followed, so that the key goes nowhere else. "
            "Change the base URL to the final address. See {settings}.",
            host=who.host,
            target=quoted(headers.get("Location", "?").split("?")[0], who.secrets),
            settings=who.settings,
        )
    if status < 300:
        return ModelDown(
            "{host} answered with {kind} (HTTP {status}), not with the OpenAI protocol. Is {url} the right address? "
            "The base URL usually ends in /v1. See {settings}.",
            host=who.host,
            kind=quoted(headers.get("Content-Type", "?"), who.secrets) or "?",
            status=status,
            url=url,
            settings=who.settings,
        )
    return _by_status(who, status, _detail(who, body), retry_after_s(headers), url)


def reported(who: Who, error: object) -> ModelError:
    """The error for one that a provider reports inside a response that began well."""
    said = error if isinstance(error, dict) else {}
    detail = quoted(str(said.get("message") or error), who.secrets)
    code = said.get("code", said.get("status"))
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdecimal()) else 0
    if status == 429 or "rate_limit" in f"{code} {said.get('type')}":
        return _by_status(who, 429, detail, None, who.base)
    if status in (400, 422):
        return _by_status(who, status, detail, None, who.base)
    return ModelDown(
        "{host} reported an error in the middle of an answer of {model}: {detail}",
        host=who.host,
        model=who.name,
        detail=detail,
    )


def _by_status(who: Who, status: int, detail: str, pause_s: float | None, url: str) -> ModelError:
    said = {"host": who.host, "status": status, "detail": detail}
    pause = {} if pause_s is None else {"retry_after_s": pause_s}
    if status in (401, 403):
        return ModelRefused(
            "{host} refused the key for {model} (HTTP {status}). Check it. See {settings}. It said: {detail}",
            **said,
            model=who.name,
            settings=who.settings,
        )
    if status == 404:
        return ModelUnknown(
            "{host} does not know the model {upstream!r}, or {url} is not where it answers (HTTP 404). Check both. "
            "See {settings}. It said: {detail}",
            **said,
            upstream=who.upstream,
            url=url,
            settings=who.settings,
        )
    if status == 429:
        return ModelBusy(
            "{host} takes no more requests for now (HTTP 429): too many came, or the quota is used up. "
            "Try again later. It said: {detail}",
            **said,
            **pause,
        )
    if status >= 500 or status in (408, 425):
        return ModelDown("{host} failed (HTTP {status}). Try again later. It said: {detail}", **said, **pause)
    kind = RequestRefused if status in (400, 413, 415, 422) else ModelRefused
    return kind(_("{host} refused the request (HTTP {status}). It said: {detail}"), **said)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the provider asks to wait: seconds or a date (RFC 9110, 10.2.3), or OpenAI's milliseconds."""
    try:
        if "Retry-After-Ms" in headers:
            pause_s = float(headers["Retry-After-Ms"]) / 1000
        elif re.fullmatch(r"\s*\d+(\.\d+)?\s*", said := headers.get("Retry-After", "")):
            pause_s = float(said)
        else:
            pause_s = parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(pause_s, 0.0), _LONGEST_PAUSE_S) if pause_s == pause_s else None


def quoted(text: str, secrets: tuple[str, ...]) -> str:
    """Words of the provider for an error message: one short line without the key, which some echo."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 300 else text[:299] + "…"


def _detail(who: Who, body: bytes) -> str:
    """What the provider says of its refusal: in the protocol's words, or in one of the ways that others have."""
    text = body.decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
        found = found[0] if isinstance(found, list) else found  # Gemini
        error = found.get("error", found)
        if isinstance(error, dict):
            named = (error.get(name) for name in ("message", "msg", "detail", "error_msg", "error_description"))
            text = next((one for one in named if one), text)
        else:
            text = error
        text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    except (ValueError, AttributeError, LookupError, RecursionError):
        text = re.sub(r"<[^>]*>", " ", text)
    return quoted(text, who.secrets) or "-"
