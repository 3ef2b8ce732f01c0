"""Providers that misbehave, over a real socket: the right error, soon, whatever was asked of them."""

import asyncio
import email.utils
import time
from pathlib import Path

import pytest

from dizuo.core.errors import ModelBusy, ModelDown
from dizuo.core.events import Done, Event, Failed
from dizuo.gateway import remote_http
from dizuo.gateway.remote import RemoteModel
from dizuo.gateway.remote_http import Endpoint, Timeouts
from dizuo.gateway.remote_refusal import retry_after_s
from tests.gateway.misbehaving import FAULTS, Fault, self_signed
from tests.gateway.provider import (
    DONE,
    KEY,
    PARIS,
    PATIENT,
    QUESTION,
    SILENT,
    STALLED,
    WAIT,
    Provider,
    Step,
    answer,
    ask,
    chunk,
    events_of,
    head,
    text_of,
)


@pytest.mark.parametrize("asked", ["chat", "call"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_the_right_error_and_soon(fault: Fault, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "MAX_BODY_BYTES", 50_000)
    provider = Provider([fault.script])

    async def run() -> None:
        async with provider.serving() as url, asyncio.timeout(8):
            if asked == "chat":
                await events_of(RemoteModel("test/m", url, KEY, fault.timeouts))
            else:
                await Endpoint("test/m", url, KEY, fault.timeouts).answer("embeddings", {})

    with pytest.raises(fault.error, match=fault.says) as error:
        asyncio.run(run())
    assert error.value.status == fault.status
    assert fault.params.items() <= error.value.params.items()
    assert KEY not in str(error.value)


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    provider = Provider([PARIS], tls=self_signed(tmp_path))

    async def run() -> None:
        async with provider.serving() as url:
            await events_of(RemoteModel("test/m", url, KEY, PATIENT, settings="dizuo provider show test"))

    with pytest.raises(ModelDown, match=r"No encrypted connection.*self.signed.*See dizuo provider show test\."):
        asyncio.run(run())
    assert provider.asked == []


def test_a_server_that_never_answers_the_handshake_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def run() -> None:
        async with Provider([PARIS]).serving() as url:
            await events_of(RemoteModel("test/m", url.replace("http:", "https:"), KEY, Timeouts(connect_s=0.3)))

    with pytest.raises(ModelDown, match="cannot be reached"):
        asyncio.run(run())


def test_a_caller_who_is_cancelled_hangs_up_on_the_provider() -> None:
    provider = Provider([[WAIT]])

    async def run() -> None:
        async with provider.serving() as url, asyncio.timeout(5):
            asking = asyncio.ensure_future(events_of(RemoteModel("test/m", url, KEY, PATIENT)))
            await provider.came.wait()
            asking.cancel()
            await provider.hung_up.wait()

    asyncio.run(run())


def test_comments_keep_a_connection_open_but_are_no_answer() -> None:
    pings: list[Step] = [step for _ in range(20) for step in (b": processing\n\n", 0.1)]
    with pytest.raises(ModelDown, match="sent nothing"):
        ask([head(), *pings], timeouts=SILENT)


def test_time_that_the_reader_takes_is_not_held_against_the_provider() -> None:
    async def run() -> list[Event]:
        events: list[Event] = []
        async with Provider([[head(), chunk("a"), chunk("b"), 0.05, chunk("c", finish="stop"), DONE]]).serving() as url:
            async for event in RemoteModel("test/m", url, KEY, STALLED).stream(QUESTION):
                events.append(event)
                await asyncio.sleep(0.4)  # longer than the provider may take
        return events

    events = asyncio.run(run())
    assert (text_of(events), events[-1]) == ("abc", Done())


def test_a_model_with_other_timeouts_waits_as_long_as_these_say() -> None:
    async def run() -> None:
        async with Provider([[WAIT]]).serving() as url, asyncio.timeout(8):
            await events_of(RemoteModel("test/m", url, KEY, PATIENT).waiting(first_token_s=0.2))

    with pytest.raises(ModelDown, match=r"for 0\.2 s"):
        asyncio.run(run())


def test_an_error_midway_in_the_words_of_vllm_is_one() -> None:
    error = b'data: {"object": "error", "message": "out of memory", "code": 500}\n\n'
    event = ask([head(), chunk("Par"), error, DONE])[-1]
    assert isinstance(event, Failed)
    assert "out of memory" in event.message


def test_a_model_that_is_busy_says_until_when() -> None:
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    with pytest.raises(ModelBusy) as error:
        ask(answer({}, 429, Retry_After=date))
    assert 50 < error.value.params["retry_after_s"] <= 60


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "9" * 400}, 86_400.0),
        ({"Retry-After": "20", "Retry-After-Ms": "250"}, 0.25),
        ({"Retry-After-Ms": "nan"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
