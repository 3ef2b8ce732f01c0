"""HTTP for the SDKs of protocols, within limits: an answer that is endless or packed ends with an error."""

from collections.abc import AsyncIterator
from typing import Any

MOST_ANSWER_BYTES = 8 << 20  # of one response
# What is packed may be a thousand times as large unpacked.
UNPACKED = {"Accept-Encoding": "identity"}


def bounded(http: Any, proxy: str | None, most_bytes: int = MOST_ANSWER_BYTES) -> Any:
    """A transport whose responses end with an error behind `most_bytes`.

    `http`: the library of the SDK's client, httpx or httpx2, which have the same classes.
    """
    inner = http.AsyncHTTPTransport(proxy=proxy, trust_env=False)

    class Stream(http.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            total = 0
            async for part in self._stream:
                total += len(part)
                if total > most_bytes:
                    raise http.ReadError(f"the answer has over {most_bytes} bytes")
                yield part

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Bounded(http.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            response = await inner.handle_async_request(request)
            if response.headers.get("content-encoding", "identity") != "identity":
                await response.aclose()
                raise http.ReadError("the answer is packed, though that was not asked for")
            response.stream = Stream(response.stream)
            return response

        async def aclose(self) -> None:
            await inner.aclose()

    return Bounded()
