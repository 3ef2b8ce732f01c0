"""The models that a provider says it has: GET base/models of the OpenAI protocol, taken with care."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dizuo.core.errors import ModelDown, ModelError
from dizuo.gateway.local_folders import Kind
from dizuo.gateway.remote_address import proxy_of
from dizuo.gateway.remote_refusal import Who, quoted, refusal

MAX_BODY_BYTES = 8 << 20
MAX_MODELS = 5000
MAX_NAME = 120  # characters; the ledger keeps names of 128 with their provider
_TIMEOUT_S = 15.0

# By the words in a name, since the protocol says nothing of what a model does. The first that fits counts.
_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("rerank", ("rerank",)),
    ("embedding", ("embed", "bge-", "gte-", "m3e", "e5-", "minilm")),
    (
        "unknown",
        (
            "whisper", "tts", "dall-e", "image", "moderation", "audio", "transcribe", "realtime", "speech", "video",
            "wanx", "cogview", "sora", "ocr", "diffusion", "flux", "seedream", "seedance", "imagen", "veo-",
        ),
    ),
)  # fmt: skip


def kind_of(name: str) -> Kind:
    """What a provider's model most likely does, by its name alone: chat where nothing speaks against it."""
    short = name.lower()
    for kind, words in _KINDS:
        if any(word in short for word in words):
            return kind
    return "chat"


def fetch_models(base: str, headers: Mapping[str, str], name: str, settings: str) -> Sequence[str]:
    """The names of a provider's models, sorted. Blocking.

    `base` and `headers` have been checked. Names that no name can be are left out. Raises ModelError for whatever goes
    wrong; ModelUnknown where it lists none.
    """
    import httpx

    url = f"{base}/models"
    secrets = tuple(value.removeprefix("Bearer ") for value in headers.values() if len(value) > 10)
    who = Who(name, "models", base, urlsplit(base).netloc, settings, secrets)
    try:
        # Redirects are not followed, so that the key goes nowhere else.
        with (
            httpx.Client(proxy=proxy_of(base, settings), trust_env=False, timeout=_TIMEOUT_S) as client,
            client.stream("GET", url, headers={**headers, "Accept": "application/json"}) as answer,
        ):
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    break
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if answer.status_code != 200 or kind != "application/json" or len(body) > MAX_BODY_BYTES:
                raise refusal(who, answer.status_code, answer.headers, bytes(body), url)
    except httpx.HTTPError as error:
        raise ModelDown(
            "{host} cannot be reached ({reason}). Is it running? See {settings}.",
            host=who.host,
            reason=quoted(str(error), secrets) or type(error).__name__,
            settings=settings,
        ) from error
    return _names(bytes(body), who)


def _names(body: bytes, who: Who) -> Sequence[str]:
    try:
        found: Any = json.loads(body)
        listed = found["data"] if isinstance(found, dict) else found  # a bare list: some servers of one's own
        names = [one["id"] for one in listed[:MAX_MODELS]]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise _gibberish(body, who) from error
    return sorted({short for name in names if isinstance(name, str) and (short := _cleaned(name))})


def _cleaned(name: str) -> str:
    """The name, or "" for one that would deceive whoever reads it: blanks, control and direction marks."""
    short = name.strip().removeprefix("models/")  # Gemini
    return short if 0 < len(short) <= MAX_NAME and short.isprintable() and " " not in short else ""


def _gibberish(body: bytes, who: Who) -> ModelError:
    return ModelDown(
        "{host} sent something that is not the OpenAI protocol: {start}",
        host=who.host,
        start=quoted(body[:400].decode("utf-8", "replace"), who.secrets),
    )
