"""One trace a request: who lies within whom, in tasks, threads and generators; how it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from dizuo.core import traces
from dizuo.core.errors import ModelDown, UserError
from dizuo.core.traces import Trace


def tree(trace: Trace) -> list[tuple[str, str]]:
    """Every span with the name of the one that it lies within."""
    return [(one.name, parent.name if parent else "") for one, parent in trace.nested()]


def test_spans_lie_within_one_another() -> None:
    kept: list[Trace] = []
    with traces.traced(Trace("ask"), kept.append):
        with traces.span("chat"), traces.span("route"):
            pass
        with traces.span("check"):
            pass
    [trace] = kept
    assert tree(trace) == [("ask", ""), ("chat", "ask"), ("route", "chat"), ("check", "ask")]
    assert trace.status == "ok"
    assert traces.current.get() is None


def test_without_a_trace_a_span_costs_nothing_and_does_no_harm() -> None:
    with traces.span("alone", size=3) as span:
        span.attributes["more"] = True
    assert span.end_ns > 0


def test_tasks_and_threads_lie_within_the_span_that_began_them() -> None:
    async def work(name: str) -> None:
        with traces.span(name):
            await asyncio.sleep(0.01)
            await asyncio.to_thread(in_thread, name)

    def in_thread(name: str) -> None:
        with traces.span(f"{name} thread"):
            pass

    async def both() -> None:
        with traces.span("fan"):
            await asyncio.gather(work("a"), work("b"))

    trace = Trace("ask")
    with traces.traced(trace, lambda _trace: None):
        asyncio.run(both())
    # By their times alone, b would seem to lie within a.
    assert set(tree(trace)) == {
        ("ask", ""), ("fan", "ask"), ("a", "fan"), ("b", "fan"), ("a thread", "a"), ("b thread", "b"),
    }  # fmt: skip


async def model() -> AsyncGenerator[int, None]:
    with traces.span("chat"), traces.span("attempt"):
        yield 1
        yield 2


def test_what_a_reader_does_between_two_events_lies_where_its_end_allows() -> None:
    async def read() -> None:
        events = model()
        async with aclosing(events):
            async for event in events:
                late = traces.span(f"late {event}")
                with late:
                    pass
        with traces.span("after"):
            pass

    trace = Trace("ask")
    with traces.traced(trace, lambda _trace: None):
        asyncio.run(read())
    assert ("after", "ask") in tree(trace)
    assert ("chat", "ask") in tree(trace)


def test_a_generator_that_begins_in_a_task_of_its_own_and_is_left_ends_as_cancelled() -> None:
    async def read() -> None:
        events = model()
        assert await asyncio.ensure_future(anext(events)) == 1  # another context than this one
        await events.aclose()
        with traces.span("after"):
            pass

    trace = Trace("ask")
    with traces.traced(trace, lambda _trace: None):
        asyncio.run(read())
    assert tree(trace) == [("ask", ""), ("chat", "ask"), ("attempt", "chat"), ("after", "ask")]
    assert [one.error for one in trace.spans] == ["cancelled", "cancelled", "cancelled", ""]
    assert trace.status == "cancelled"


def test_two_requests_at_once_share_nothing() -> None:
    async def request(name: str) -> Trace:
        trace = Trace(name)
        with traces.traced(trace, lambda _trace: None):
            for step in range(20):
                with traces.span(f"{name} {step}"):
                    await asyncio.sleep(0)
        return trace

    async def both() -> list[Trace]:
        return list(await asyncio.gather(request("a"), request("b")))

    for trace in asyncio.run(both()):
        assert len(trace.spans) == 21
        assert {one.name[0] for one in trace.spans} == {trace.name}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UserError("No."), "refused", "invalid_request"),
        (ModelDown("Gone."), "failed", "model_down"),
        (ZeroDivisionError(), "failed", "ZeroDivisionError"),
        (asyncio.CancelledError(), "cancelled", "cancelled"),
    ],
)
def test_what_leaves_a_request_is_how_it_ends(error: BaseException, status: str, reason: str) -> None:
    trace = Trace("ask")
    with pytest.raises(type(error)), traces.traced(trace, lambda _trace: None), traces.span("chat"):
        raise error
    assert (trace.status, trace.error, trace.spans[1].error) == (status, reason, reason)


def test_an_attempt_that_failed_is_no_failure_of_the_request() -> None:
    trace = Trace("ask")
    with traces.traced(trace, lambda _trace: None), traces.span("chat"):
        with traces.span("attempt") as first:
            first.error = "model_down"
        with traces.span("attempt"):
            pass
    assert trace.status == "ok"


def test_a_trace_holds_so_many_spans_and_no_more() -> None:
    trace = Trace("job")
    with traces.traced(trace, lambda _trace: None):
        for _number in range(traces.MOST_SPANS + 10):
            with traces.span("embed"), traces.span("deeper"):
                pass
    assert len(trace.spans) == traces.MOST_SPANS
    assert trace.dropped == 2 * (traces.MOST_SPANS + 10) - (traces.MOST_SPANS - 1)
