"""Connections to providers are kept, shared, and closed in time."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import ModelDown
from dizuo.gateway import remote_connections
from dizuo.gateway.remote import RemoteModel
from dizuo.gateway.remote_connections import blocking, connections
from dizuo.gateway.remote_http import Endpoint
from tests.gateway.misbehaving import self_signed
from tests.gateway.provider import DONE, KEY, LAST_CHUNK, PATIENT, RESET, Provider, Step, answer, chunk, chunked
from tests.gateway.provider import events_of as events_of_model

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PARIS = STREAM + chunked(chunk("Paris."), chunk(finish="stop"), DONE)


def served(provider: Provider, use: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with provider.serving() as url, asyncio.timeout(10):
            await use(url)

    asyncio.run(run())


@pytest.mark.parametrize("end", [[PARIS + LAST_CHUNK], [PARIS, 0.05, LAST_CHUNK]])
def test_the_second_call_goes_over_the_connection_of_the_first(end: list[Step]) -> None:
    provider = Provider([end], keeps=True)

    async def use(url: str) -> None:
        for _ in range(3):
            await events_of_model(RemoteModel("test/m", url, KEY, PATIENT))
            await asyncio.sleep(0.1)

    served(provider, use)
    assert (len(provider.asked), provider.connections) == (3, 1)


def test_a_stream_that_goes_on_after_its_end_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_connections, "_AFTER_END_S", 0.1)
    provider = Provider([[PARIS, chunked(b": still here\n\n"), 30.0]], keeps=True)

    async def use(url: str) -> None:
        await events_of_model(RemoteModel("test/m", url, KEY, PATIENT))
        await provider.hung_up.wait()

    served(provider, use)


def test_a_kept_connection_that_the_server_has_cut_is_replaced() -> None:
    provider = Provider([[PARIS + LAST_CHUNK], [RESET], [PARIS + LAST_CHUNK]], keeps=True)

    async def use(url: str) -> None:
        for _ in range(2):
            await events_of_model(RemoteModel("test/m", url, KEY, PATIENT))

    served(provider, use)
    assert (len(provider.asked), provider.connections) == (3, 2)


def test_a_new_connection_that_is_cut_is_not_tried_again() -> None:
    provider = Provider([[RESET]], keeps=True)

    async def use(url: str) -> None:
        with pytest.raises(ModelDown):
            await events_of_model(RemoteModel("test/m", url, KEY, PATIENT))

    served(provider, use)
    assert len(provider.asked) == 1


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS of a provider whose certificate this machine trusts."""
    tls = self_signed(tmp_path)
    context = ssl.create_default_context(cafile=tmp_path / "server.pem")
    monkeypatch.setattr(remote_connections, "_ssl_context", lambda: context)
    return tls


def test_connections_over_tls_are_kept_and_closed_too(trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    provider = Provider([[PARIS + LAST_CHUNK]], keeps=True, tls=trusted)

    async def use(url: str) -> None:
        for _ in range(2):
            await events_of_model(RemoteModel("test/m", url, KEY, PATIENT))

    served(provider, use)
    assert (len(provider.asked), provider.connections) == (2, 1)


def test_the_way_out_leads_through_the_proxy_which_sees_no_key(
    trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    provider, seen = Provider([[PARIS + LAST_CHUNK]], tls=trusted), []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        finally:
            writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        inner, outer = await asyncio.open_connection("127.0.0.1", int(seen[0].split()[1].rpartition(b":")[2]))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, outer), pipe(inner, writer), return_exceptions=True)

    async def use(url: str) -> None:
        async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            await events_of_model(RemoteModel("test/m", url, KEY, PATIENT))

    served(provider, use)
    assert seen[0].startswith(b"CONNECT 127.0.0.1:")
    assert KEY.encode() not in seen[0]
    assert len(provider.asked) == 1


def test_cookies_of_a_provider_go_nowhere() -> None:
    provider = Provider([answer({"data": []}, Set_Cookie="id=1; Path=/")], keeps=True)

    async def use(url: str) -> None:
        for _ in range(2):
            await Endpoint("test/m", url).answer("embeddings", {})

    served(provider, use)
    assert "cookie" not in provider.asked[1].headers


def test_connections_are_one_set_a_loop_and_are_closed_with_it() -> None:
    async def two() -> tuple[Any, Any]:
        return await connections(), await connections()

    first, again = asyncio.run(two())
    other, _ = asyncio.run(two())
    assert first is again
    assert other is not first
    assert first.closed
    assert other.closed


def test_a_thread_gets_the_result_of_work_without_a_loop_of_its_own() -> None:
    async def work() -> Any:
        return await connections()

    assert blocking(work()) is blocking(work())
