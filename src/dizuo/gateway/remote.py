"""A chat model behind any endpoint that speaks the OpenAI protocol (chat completions, streamed)."""

import asyncio
import ipaddress
import json
import logging
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import httpx

from dizuo.core.errors import ModelError, UserError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.core.messages import Message, Usage
from dizuo.gateway.options import checked_options

log = logging.getLogger(__name__)
T = TypeVar("T")
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

# Sampling parameters that are passed on. Anything else is refused by name rather than dropped.
OPTIONS = frozenset(
    {
        "frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "presence_penalty",
        "reasoning_effort", "response_format", "seed", "stop", "temperature", "top_p", "user",
    }
)  # fmt: skip
MAX_LINE_BYTES = 1 << 20  # one event of the stream; real ones are under a kilobyte
MAX_BODY_BYTES = 32 << 20  # one whole answer
MAX_ERROR_BYTES = 16 << 10  # read of an error's body; what is quoted of it is far shorter
_END = b"[DONE]"


@dataclass(frozen=True)
class Timeouts:
    """How long each part of a call may take, in seconds."""

    connect_s: float = 10
    first_token_s: float = 180  # a local server may have to load the model first
    between_tokens_s: float = 60
    total_s: float = 900


class RemoteModel:
    """A model of a provider. The name sent upstream is what follows the first slash of `name`.

    Raises UserError for a base URL or a key that cannot be used. Plain http is accepted only for this machine
    and private networks: elsewhere questions, documents and the key could be read on the way.
    """

    def __init__(self, name: str, base_url: str, api_key: str = "", timeouts: Timeouts | None = None) -> None:
        self._name = name
        self._upstream = name.partition("/")[2]
        self._url = _chat_url(base_url)
        self._host = urlsplit(self._url).netloc
        self._key = _checked_key(api_key)
        self._timeouts = timeouts or Timeouts()

    @property
    def name(self) -> str:
        return self._name

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        """The answer as events, as `core.protocols.ChatModel` says.

        Raises UserError for an unknown option and ModelError for whatever goes wrong before the first text;
        after that the stream ends with Failed.
        """
        payload = {
            "model": self._upstream,
            "messages": [_as_json(message) for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **checked_options(options, OPTIONS),
        }
        spoke = False
        events = self._events(payload)
        try:
            async for event in events:
                spoke = spoke or isinstance(event, TextDelta)
                yield event
        except ModelError as error:
            log.warning("%s", error)
            if not spoke:
                raise
            yield Failed(code=error.code, message=str(error))
        finally:
            await events.aclose()

    async def _events(self, payload: dict[str, Any]) -> AsyncGenerator[Event]:
        deadline = asyncio.get_running_loop().time() + self._timeouts.total_s
        # A client for each call: clients belong to one event loop, and callers come from several.
        async with self._client() as client:
            response = await self._send(client, payload, deadline)
            try:
                if _media_type(response) == "application/json":  # a server that cannot stream: all in one piece
                    body = await self._timed(
                        _body(response, MAX_BODY_BYTES), self._timeouts.first_token_s, deadline, first=True
                    )
                    text, finish, usage = self._read(body, "message")
                    for event in _as_events(text, usage):
                        yield event
                    yield Done(finish_reason=finish or "stop")
                    return
                finish = None
                limit_s, first = self._timeouts.first_token_s, True
                async with aclosing(_sse_data(response)) as data:
                    while (chunk := await self._timed(anext(data, None), limit_s, deadline, first=first)) is not None:
                        if chunk == _END:
                            finish = finish or "stop"  # some servers name no reason, but this says that it is whole
                            break
                        limit_s, first = self._timeouts.between_tokens_s, False
                        text, reason, usage = self._read(chunk, "delta")
                        finish = reason or finish
                        for event in _as_events(text, usage):
                            yield event
                if finish is None:
                    raise ModelError("{host} cut off the answer of {model}. Ask again.", **self._who())
                yield Done(finish_reason=finish)
            finally:
                await response.aclose()

    def _client(self) -> httpx.AsyncClient:
        plain = self._url.startswith("http:")
        return httpx.AsyncClient(
            follow_redirects=False,
            # A proxy of the environment is for the way out; what goes to the private network unencrypted stays there.
            trust_env=not plain,
            verify=False if plain else _ssl_context(),  # no TLS is spoken on plain http
            timeout=httpx.Timeout(None, connect=self._timeouts.connect_s),  # the rest is timed here
        )

    async def _send(self, client: httpx.AsyncClient, payload: dict[str, Any], deadline: float) -> httpx.Response:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = client.build_request("POST", self._url, json=payload, headers=headers)
        first_s = self._timeouts.first_token_s
        response = await self._timed(client.send(request, stream=True), first_s, deadline, first=True)
        if response.status_code == 200 and _media_type(response) in ("text/event-stream", "application/json"):
            return response
        try:
            body = await self._timed(_body(response, MAX_ERROR_BYTES), 10, deadline)
        except ModelError:
            body = b""
        finally:
            await response.aclose()
        if response.status_code == 400 and b"stream_options" in body and "stream_options" in payload:
            # Servers that know only the older protocol refuse the request for usage figures.
            return await self._send(client, {k: v for k, v in payload.items() if k != "stream_options"}, deadline)
        raise self._refusal(response, body)

    async def _timed(self, work: Awaitable[T], limit_s: float, deadline: float, *, first: bool = False) -> T:
        """The result of one wait on the provider, with every way it fails turned into a ModelError."""
        left_s = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, min(limit_s, left_s))):
                return await work
        except (TimeoutError, httpx.ReadTimeout) as error:
            if left_s <= limit_s:
                seconds = self._timeouts.total_s
                text = ModelError("The answer of {model} took longer than {seconds} s.", **self._who(), seconds=seconds)
            elif first:
                text = ModelError("{host} sent nothing of {model} for {seconds} s.", **self._who(), seconds=limit_s)
            else:
                text = ModelError(
                    "{host} stopped in the middle of an answer of {model}: nothing came for {seconds} s.",
                    **self._who(),
                    seconds=limit_s,
                )
            raise text from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise ModelError(
                "{host} cannot be reached for {model} ({reason}). Is it running? Its address is the setting "
                "model_base_url (DIZUO_MODEL_BASE_URL).",
                **self._who(),
                reason=str(error) or type(error).__name__,
            ) from error
        except (httpx.HTTPError, _TooMuch) as error:
            raise ModelError(
                "The connection to {host} broke in the middle of an answer of {model} ({reason}).",
                **self._who(),
                reason=self._quoted(str(error)) or type(error).__name__,
            ) from error

    def _read(self, data: bytes, part: str) -> tuple[str, FinishReason | None, Usage | None]:
        """Text, finish reason and usage of one chunk. Raises ModelError for what is not the protocol."""
        try:
            chunk = json.loads(data)
            if error := chunk.get("error"):
                detail = error.get("message", error) if isinstance(error, dict) else error
                raise ModelError(
                    "{host} reported an error in the middle of an answer of {model}: {detail}",
                    **self._who(),
                    detail=self._quoted(str(detail)),
                )
            choices = chunk.get("choices") or []
            if not choices and part == "message":
                raise LookupError  # an answer that is none; in a stream, the chunk of the usage has no choice
            choice = choices[0] if choices else {}
            text = (choice.get(part) or {}).get("content") or ""
            finish = choice.get("finish_reason")
            counts = chunk.get("usage")
            usage = counts and Usage(
                prompt_tokens=counts.get("prompt_tokens") or 0, completion_tokens=counts.get("completion_tokens") or 0
            )
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            raise ModelError(
                "{host} sent something that is not the OpenAI protocol: {start}",
                host=self._host,
                start=self._quoted(data.decode("utf-8", "replace")),
            ) from error
        return (
            _storable(text),
            (finish if finish in get_args(FinishReason) else "stop") if finish else None,
            usage or None,
        )

    def _refusal(self, response: httpx.Response, body: bytes) -> ModelError:
        status = response.status_code
        who = {**self._who(), "status": status, "detail": self._detail(body)}
        if 300 <= status < 400:
            target = self._quoted(response.headers.get("location", "?").split("?")[0])
            return ModelError(
                "{host} redirects to {target}. Redirects are not followed, so that the key goes nowhere else. "
                "Set model_base_url (DIZUO_MODEL_BASE_URL) to the final address.",
                **who,
                target=target,
            )
        if status in (401, 403):
            return ModelError(
                "{host} refused the key for {model} (HTTP {status}). Check the setting model_api_key "
                "(DIZUO_MODEL_API_KEY). It said: {detail}",
                **who,
            )
        if status == 404:
            return ModelError(
                "{host} does not know the model {upstream!r}, or {url} is not where it answers (HTTP 404). Check the "
                "settings model and model_base_url. It said: {detail}",
                **who,
                upstream=self._upstream,
                url=self._url,
            )
        if status == 429:
            return ModelError(
                "{host} takes no more requests for now (HTTP 429): too many came, or the quota is used up. "
                "Try again later. It said: {detail}",
                **who,
            )
        if status >= 500:
            return ModelError("{host} failed (HTTP {status}). Try again later. It said: {detail}", **who)
        if status >= 400:
            return ModelError("{host} refused the request (HTTP {status}). It said: {detail}", **who)
        return ModelError(
            "{host} answered with {kind} (HTTP {status}), not with the OpenAI protocol. Is {url} the right address? "
            "model_base_url usually ends in /v1.",
            **who,
            kind=self._quoted(response.headers.get("content-type", "?")),
            url=self._url,
        )

    def _who(self) -> dict[str, Any]:
        return {"model": self._name, "host": self._host}

    def _detail(self, body: bytes) -> str:
        """What the provider says of its refusal."""
        text = body.decode("utf-8", "replace")
        try:
            error = json.loads(text).get("error", text)
            text = error.get("message", text) if isinstance(error, dict) else error
        except (ValueError, AttributeError, RecursionError):
            text = re.sub(r"<[^>]*>", " ", text)
        return self._quoted(str(text)) or "-"

    def _quoted(self, text: str) -> str:
        """Words of the provider for an error message: one short line without the key, which some echo."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 200 else text[:199] + "…"


class _TooMuch(Exception):
    """The provider sends without end."""


async def _body(response: httpx.Response, limit_bytes: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > limit_bytes:
            if response.status_code == 200:
                raise _TooMuch(f"> {limit_bytes} bytes")
            break
    return bytes(body[:limit_bytes])


async def _sse_data(response: httpx.Response) -> AsyncGenerator[bytes]:
    """The data of each server-sent event; the last is [DONE] where the provider says so.

    Comments, which keep the line open, are passed over. Lines are split at LF alone: `httpx.aiter_lines` also splits
    at U+2028, which JSON strings may hold.
    """
    buffer, total = b"", 0
    async for part in response.aiter_bytes():
        total += len(part)
        *lines, buffer = (buffer + part).split(b"\n")
        if len(buffer) > MAX_LINE_BYTES or total > MAX_BODY_BYTES:
            raise _TooMuch(f"> {MAX_LINE_BYTES if len(buffer) > MAX_LINE_BYTES else MAX_BODY_BYTES} bytes")
        for line in lines:
            if data := _data_of(line):
                yield data
    if data := _data_of(buffer):  # some servers leave out the last line's end
        yield data


def _data_of(line: bytes) -> bytes:
    """What a line of the stream carries; empty for comments and fields that say nothing here."""
    line = line.removeprefix(b"\xef\xbb\xbf").strip()
    if line.startswith(b"data:"):
        return line[5:].strip()
    # A line that is no field at all is not the protocol; whoever reads it says so.
    return b"" if re.match(rb":|(event|id|retry):", line) else line


def _storable(text: str) -> str:
    """The text without what neither UTF-8 nor PostgreSQL can hold: halves of a surrogate pair, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _as_events(text: str, usage: Usage | None) -> list[Event]:
    events: list[Event] = [TextDelta(text=text)] if text else []
    return [*events, UsageReported(usage=usage)] if usage else events


def _as_json(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    return fields | ({"name": message.name} if message.name else {})


def _media_type(response: httpx.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _checked_key(key: str) -> str:
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        # The key itself stays out of the message.
        raise UserError(
            "The key in model_api_key (DIZUO_MODEL_API_KEY) holds characters that no key has: spaces, line breaks or "
            "letters beyond ASCII. Copy it again."
        )
    return key


def _chat_url(base_url: str) -> str:
    """The chat-completions address under a base URL. Raises UserError for one that must not be used."""
    base = base_url.strip().rstrip("/").removesuffix("/chat/completions")
    try:
        parts = urlsplit(base)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise UserError(
            "model_base_url (DIZUO_MODEL_BASE_URL) is {url!r}; it must be an address such as "
            "http://127.0.0.1:11434/v1 or https://api.openai.com/v1.",
            url=re.sub(r"//[^/@]*@", "//***@", base),
        )
    if parts.username is not None or parts.password is not None:
        raise UserError(
            "model_base_url (DIZUO_MODEL_BASE_URL) holds a name or password. Put the key into model_api_key "
            "(DIZUO_MODEL_API_KEY), where it is kept secret."
        )
    if parts.scheme == "http" and not _is_private(host):
        raise UserError(
            "model_base_url (DIZUO_MODEL_BASE_URL) is {url!r}: without encryption, others could read the key and your "
            "documents on the way. Use https; http is for this machine and private networks.",
            url=base,
        )
    return f"{base}/chat/completions"


def _is_private(host: str) -> bool:
    """Whether a host is this machine or on a private network, judged by the name alone."""
    host = host.rstrip(".")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:  # "2130706433", "0x7f.1": old spellings of IPv4 that the resolver takes for addresses
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, UnicodeError):
            # Names without a dot are those of containers and of the local network.
            return "." not in host or host.endswith((".localhost", ".local", ".lan", ".internal", ".home.arpa"))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_private or address.is_loopback


@cache
def _ssl_context() -> ssl.SSLContext:
    """The system's certificates, read once: that takes tens of milliseconds."""
    return httpx.create_ssl_context()
