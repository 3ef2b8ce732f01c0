"""One endpoint of a provider over HTTP: a request in, JSON or a stream of JSON out, every fault named."""

import asyncio
import io
import json
import re
from collections.abc import AsyncGenerator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from dizuo.core import traces
from dizuo.core.errors import ModelDown, ModelError
from dizuo.gateway.remote_address import checked_base, checked_headers, proxy_of
from dizuo.gateway.remote_connections import Kept, connections, let_go
from dizuo.gateway.remote_refusal import Who, quoted, refusal, reported

SETTINGS = "model_base_url (DIZUO_MODEL_BASE_URL), model_api_key (DIZUO_MODEL_API_KEY)"
MAX_LINE_BYTES = 1 << 20  # one event of a stream; real ones are under a kilobyte
MAX_BODY_BYTES = 32 << 20  # one whole answer
MAX_ERROR_BYTES = 16 << 10  # read of an error's body; what is quoted of it is far shorter
_ERROR_S = 10.0  # waited for an error's body
_END = b"[DONE]"
_LARGE_BYTES = 1 << 20  # aiohttp sends larger bodies in pieces only from a file


@dataclass(frozen=True)
class Timeouts:
    """How long each part of a call may take, in seconds."""

    connect_s: float = 10
    first_token_s: float = 180  # a local server may have to load the model first
    between_tokens_s: float = 60
    total_s: float = 900


class Endpoint:
    """A model of a provider, as far as HTTP goes. The name sent upstream is what follows the first slash of `name`.

    `settings` says where its address and key are changed. Raises UserError for those that cannot be used.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str = "",
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        settings: str = SETTINGS,
    ) -> None:
        self.name = name
        self.model = name.partition("/")[2]
        self.timeouts = timeouts or Timeouts()
        self._base = checked_base(base_url, settings)
        self._proxy = proxy_of(self._base, settings)
        self._headers = checked_headers(api_key, headers or {}, settings)
        self.fingerprint = hash((self._base, *sorted(self._headers.items())))
        secrets = tuple(one for one in (api_key.strip(), *(headers or {}).values()) if len(one) > 3)
        self.who = Who(name, self.model, self._base, urlsplit(self._base).netloc, settings, secrets)
        self._connect = aiohttp.ClientTimeout(total=None, connect=self.timeouts.connect_s)
        self._reports_usage = True  # until it refuses to
        # Whether an answer may be asked for in one piece: a caller who limits its beginning must see it begin.
        self.may_be_whole = timeouts is None

    def waiting(self, **seconds: float) -> "Endpoint":
        """The same endpoint, with these of its timeouts changed."""
        other = copy(self)
        other.timeouts = replace(self.timeouts, **seconds)
        other._connect = aiohttp.ClientTimeout(total=None, connect=other.timeouts.connect_s)
        other.may_be_whole = self.may_be_whole and not seconds.keys() & {"first_token_s", "between_tokens_s"}
        return other

    async def answer(self, path: str, payload: Mapping[str, Any], limit_bytes: int = 0) -> dict[str, Any]:
        """The JSON object that comes back, of MAX_BODY_BYTES at most or of `limit_bytes`.

        Raises ModelError for whatever goes wrong.
        """
        waits = _Waits(self.timeouts)
        response = await self._open(path, payload, "application/json", waits)
        try:
            if _media_type(response) != "application/json":
                raise refusal(self.who, response.status, response.headers, b"", self._url(path))
            return self._parsed(await self._whole(response, waits, limit_bytes or MAX_BODY_BYTES))
        finally:
            waits.stop()
            response.close()

    async def chunks(
        self, path: str, payload: Mapping[str, Any], *, in_one: bool = False
    ) -> AsyncGenerator[dict[str, Any] | None]:
        """The JSON objects of a streamed answer, and at its end None if the provider said that it is whole.

        With `in_one` it is asked for in one piece, for which there is `total_s`; a server that cannot stream gives one,
        too. The connection is closed at once when the stream is. Raises ModelError for whatever goes wrong.
        """
        if in_one:
            waits = _Waits(self.timeouts, self.timeouts.total_s)
            response = await self._open(path, payload, "application/json", waits)
        else:
            waits = _Waits(self.timeouts)
            payload = {**payload, "stream": True}
            if self._reports_usage:
                payload["stream_options"] = {"include_usage": True}
            response = await self._open(path, payload, "text/event-stream", waits)
        whole = False
        try:
            if _media_type(response) == "application/json":
                body = await self._whole(response, waits, MAX_BODY_BYTES)
                answer = self._parsed(body)
                if not answer.get("choices"):
                    raise self.gibberish(body)
                yield answer
                yield None
                return
            rest, total = b"", 0
            while part := await self._part(response, waits):
                total += len(part)
                # Split at LF alone: JSON strings may hold the other characters that `splitlines` takes for an end.
                *lines, rest = (rest + part).split(b"\n")
                if len(rest) > MAX_LINE_BYTES or total > MAX_BODY_BYTES:
                    raise self._broken(f"> {MAX_LINE_BYTES if len(rest) > MAX_LINE_BYTES else MAX_BODY_BYTES} bytes")
                for line in lines:
                    if not (data := _data_of(line)):
                        continue
                    waits.pause()
                    if data == _END:
                        whole = True
                        yield None
                        return
                    yield self._parsed(data)
            if data := _data_of(rest):  # some servers leave out the last line's end
                yield None if data == _END else self._parsed(data)
        finally:
            waits.stop()
            if whole:
                let_go(response)
            else:
                response.close()

    def gibberish(self, data: bytes | object) -> ModelDown:
        """The error for something that is not the protocol."""
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False)
        return ModelDown(
            "{host} sent something that is not the OpenAI protocol: {start}",
            host=self.who.host,
            start=quoted(text, self.who.secrets),
        )

    def cut_off(self) -> ModelDown:
        """The error for an answer that ended without an end."""
        return ModelDown("{host} cut off the answer of {model}. Ask again.", host=self.who.host, model=self.name)

    # ----------------------------------------------------------------------------------------------------------

    async def _open(
        self, path: str, payload: Mapping[str, Any], accept: str, waits: "_Waits"
    ) -> aiohttp.ClientResponse:
        """The response of a request that was taken."""
        body = json.dumps(payload, separators=(",", ":")).encode()
        with traces.span("request", **{"server.address": self.who.host}) as span:
            response = await self._sent(path, body, accept, waits)
            span.attributes["http.response.status_code"] = response.status
        if response.status == 200 and _media_type(response) in ("text/event-stream", "application/json"):
            waits.watch(response.content)
            return response
        try:
            said = await _error_body(response)
        finally:
            response.close()
        if response.status == 400 and b"stream_options" in said and "stream_options" in payload:
            # Servers that know only the older protocol refuse the request for usage figures.
            self._reports_usage = False
            older = {name: value for name, value in payload.items() if name != "stream_options"}
            return await self._open(path, older, accept, waits)
        raise refusal(self.who, response.status, response.headers, said, self._url(path))

    async def _sent(self, path: str, body: bytes, accept: str, waits: "_Waits") -> aiohttp.ClientResponse:
        session = await connections()
        kept = Kept()
        try:
            async with asyncio.timeout_at(waits.due):
                while True:
                    try:
                        return await session.post(
                            self._url(path),
                            data=io.BytesIO(body) if len(body) > _LARGE_BYTES else body,
                            headers={**self._headers, "Accept": accept},
                            proxy=self._proxy,
                            timeout=self._connect,
                            allow_redirects=False,
                            trace_request_ctx=kept,
                        )
                    except (aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError):
                        # A kept connection that the server was closing meanwhile: it has not taken the request.
                        if not kept.used:
                            raise
                        kept.used = False
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise self._fault(error, waits) from error

    async def _part(self, response: aiohttp.ClientResponse, waits: "_Waits") -> bytes:
        """What has come meanwhile; nothing at the end."""
        waits.begin()
        try:
            return await response.content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._fault(error, waits) from error

    async def _whole(self, response: aiohttp.ClientResponse, waits: "_Waits", limit_bytes: int) -> bytes:
        body = bytearray()
        while part := await self._part(response, waits):
            body += part
            if len(body) > limit_bytes:
                raise self._broken(f"> {limit_bytes} bytes")
        return bytes(body)

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.gibberish(data) from error
        if not isinstance(found, dict):
            raise self.gibberish(data)
        if found.get("error") or found.get("object") == "error":  # the latter: vLLM
            raise reported(self.who, found.get("error") or found)
        return found

    def _fault(self, error: Exception, waits: "_Waits") -> ModelError:
        """What went wrong on the line."""
        who = {"model": self.who.name, "host": self.who.host}
        reason = quoted(str(error), self.who.secrets) or type(error).__name__
        match error:
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                return ModelDown(
                    "No encrypted connection to {host} for {model} ({reason}). Nothing was sent. If the server is your "
                    "own, give it a certificate of an authority that this machine trusts. See {settings}.",
                    **who,
                    reason=reason,
                    settings=self.who.settings,
                )
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | ValueError():
                return ModelDown(
                    "{host} cannot be reached for {model} ({reason}). Is it running, and is the address right? "
                    "See {settings}.",
                    **who,
                    reason=reason,
                    settings=self.who.settings,
                )
            case TimeoutError():
                return waits.late(self.who)
            case _:
                return self._broken(reason)

    def _broken(self, reason: str) -> ModelDown:
        return ModelDown(
            "The connection to {host} broke in the middle of an answer of {model} ({reason}).",
            host=self.who.host,
            model=self.who.name,
            reason=reason,
        )

    def _url(self, path: str) -> str:
        return f"{self._base}/{path}"


class _Waits:
    """How long is waited for the provider, and no longer: one timer for a whole answer, since one for each piece of it
    would cost more than reading it. Time that the reader of a stream takes is not the provider's."""

    def __init__(self, timeouts: Timeouts, first_s: float = 0.0) -> None:
        """`first_s`: until the first event, if not what the timeouts say."""
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._limit_s = first_s or timeouts.first_token_s
        now = self._loop.time()
        self._deadline = now + timeouts.total_s
        self.due = min(now + self._limit_s, self._deadline)
        self._began = False  # an event has come
        self._waiting = True
        self._timer: asyncio.TimerHandle | None = None
        self._content: aiohttp.StreamReader | None = None

    def watch(self, content: aiohttp.StreamReader) -> None:
        """From now on, waiting is for this."""
        self._content = content

    def begin(self) -> None:
        """The wait for the next event goes on, or begins after a pause."""
        if not self._waiting:
            self._waiting = True
            self.due = min(self._loop.time() + self._limit_s, self._deadline)
        if self._timer is None or self._timer.when() > self.due:
            self.stop()
            self._timer = self._loop.call_at(self.due, self._ring)

    def pause(self) -> None:
        """An event has come."""
        self._waiting, self._began = False, True
        self._limit_s = self._timeouts.between_tokens_s

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def late(self, who: Who) -> ModelDown:
        named = {"model": who.name, "host": who.host}
        if self.due >= self._deadline:
            seconds = self._timeouts.total_s
            return ModelDown("The answer of {model} took longer than {seconds} s.", model=who.name, seconds=seconds)
        if not self._began:
            return ModelDown("{host} sent nothing of {model} for {seconds} s.", **named, seconds=self._limit_s)
        return ModelDown(
            "{host} stopped in the middle of an answer of {model}: nothing came for {seconds} s.",
            **named,
            seconds=self._limit_s,
        )

    def _ring(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if self._loop.time() < self.due:  # it was set for an earlier wait
            self._timer = self._loop.call_at(self.due, self._ring)
        elif self._content is not None:
            self._content.set_exception(TimeoutError())


# --- reading --------------------------------------------------------------------------------------------------


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of what a refusal says."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_S):
            while len(body) < MAX_ERROR_BYTES and (part := await response.content.readany()):
                body += part
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return bytes(body[:MAX_ERROR_BYTES])


def _data_of(line: bytes) -> bytes:
    """What a line of the stream carries; empty for comments and fields that say nothing here."""
    if line.startswith(b"data:"):
        return line[5:].strip()
    line = line.removeprefix(b"\xef\xbb\xbf").strip()
    if line.startswith(b"data:"):
        return line[5:].strip()
    # A line that is no field at all is not the protocol; whoever reads it says so.
    return b"" if re.match(rb":|(event|id|retry):", line) else line


def _media_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()
