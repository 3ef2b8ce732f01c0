"""What comes of a model's events, for every address that answers in a model's words; and what its headers say."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Depends, Header, Request, Response

from dizuo.api import streams
from dizuo.core import traces
from dizuo.core.documents import Citation
from dizuo.core.events import CitationFound, Done, Event, Failed, Served, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import TokenLogprob, ToolCall, Usage

# How an address that streams describes itself.
STREAMS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


async def _wishes(
    cache: Annotated[
        Literal["use", "refresh", "off"] | None,
        Header(alias="X-Dizuo-Cache", description="refresh: no kept answer, but keep the new one; off: neither"),
    ] = None,
    private: Annotated[
        bool | None, Header(alias="X-Dizuo-Private", description="true: neither the answer nor any text is kept")
    ] = None,
) -> None:
    """Writes what the caller wants done with the answer into the request's trace."""
    trace = traces.current.get()
    if trace is None:
        return
    if cache is not None and trace.cache != "off":  # a key that is kept out of the cache stays out
        trace.cache = cache
    trace.private = trace.private or bool(private)


WISHES = [Depends(_wishes)]


class Reply:
    """The answer of a chat model in the making. Faces of it render what it has taken."""

    def __init__(self, model: str, base_url: Callable[[], object]) -> None:
        """`base_url` tells this server's, with which the addresses of citations begin. Few answers ask."""
        self.model = model
        self.text = ""
        self.calls: list[ToolCall] = []
        self.tokens: list[TokenLogprob] = []
        self.usage = Usage()
        self.finish_reason = "stop"
        self.served: Served | None = None
        self._base_url = base_url
        self._citations: dict[int, Citation] = {}
        self._ended = False

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text=text, tokens=tokens):
                self.text += text
                self.tokens += tokens
            case ToolCalled(call=call):
                self.calls.append(call)
            case CitationFound(index=index, citation=citation):
                self._citations[index] = citation  # comes again when its check found it wanting
            case UsageReported(usage=usage):
                self.usage = usage
            case Served():
                self.served = event
            case Done(finish_reason=reason):
                self.finish_reason = reason
                self._ended = True
            case _:
                pass

    async def take_all(self, events: AsyncIterator[Event]) -> Failed | None:
        """Takes every event; how the stream failed, if it did."""
        async with streams.ended(events):
            async for event in events:
                if isinstance(event, Failed):
                    return event
                self.take(event)
        self.must_have_ended()
        return None

    def must_have_ended(self) -> None:
        if not self._ended:
            raise RuntimeError("the events ended without an end")

    def citations(self) -> list[dict[str, Any]]:
        """The citations in order, each at its first mark in the text, as `openai_types.UrlCitation` has them."""
        return [self._cited(n, self._citations[n]) for n in sorted(self._citations)]

    def _cited(self, index: int, citation: Citation) -> dict[str, Any]:
        mark = f"[{index}]"
        at = self.text.find(mark)
        knowledge = quote(self.model.removeprefix("knowledge/"), safe="")
        path = f"api/knowledge/{knowledge}/documents/{quote(citation.document_id, safe='')}"
        return {
            "url": f"{self._base_url()}{path}",
            "title": citation.document,
            "start_index": max(at, 0),
            "end_index": at + len(mark) if at >= 0 else 0,
            "index": index,
            **citation.model_dump(mode="json"),
        }


def usage_of(usage: Usage) -> dict[str, Any]:
    """What was counted, as `openai_types.ChatUsage` has it."""
    counted: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    return counted | ({"prompt_tokens_details": {"cached_tokens": usage.cached_tokens}} if usage.cached_tokens else {})


def served_headers(served: Served | None) -> dict[str, str]:
    """Who answered, and whether the answer was one that had been kept."""
    if served is None:
        return {}
    headers = {
        "X-Dizuo-Model": quote(served.model, safe="/:.-_@+"),  # a header holds no Chinese
        "X-Dizuo-Cache": "hit" if served.cache else "miss",
    }
    if served.run_id:
        headers["X-Dizuo-Run"] = served.run_id
    if served.cache:
        headers["X-Dizuo-Cache-Kind"] = served.cache
        headers["X-Dizuo-Cache-Score"] = f"{served.score:.4f}"
        headers["X-Dizuo-Cache-Age"] = str(int(served.age_s))
    return headers


def whole(content: dict[str, Any], served: Served | None = None) -> Response:
    """A whole answer as it goes out. It was built as its type says (a test holds that), and is not checked again."""
    return Response(streams.json_text(content), media_type="application/json", headers=served_headers(served))


async def streamed(
    request: Request, events: AsyncIterator[Event]
) -> tuple[AsyncGenerator[Event, None], dict[str, str]]:
    """The events once the first is there, and the headers that it tells."""
    begun = await streams.opened(request, events)
    return begun.events, served_headers(begun.first if isinstance(begun.first, Served) else None)
