"""Engines are made when first used, shared, and let go when others need their place."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import Unavailable, UserError
from dizuo.gateway import local_engines
from dizuo.gateway.local_engines import Engines
from dizuo.gateway.local_folders import LocalFolder


class Engine:
    """Says whether it has been closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Loading:
    """Makes engines and keeps them."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.made: list[Engine] = []
        self.takes_s = takes_s

    def __call__(self, folder: LocalFolder) -> Engine:
        time.sleep(self.takes_s)
        self.made.append(Engine(folder.name))
        return self.made[-1]

    def open(self) -> list[str]:
        return [engine.name for engine in self.made if not engine.closed]


@pytest.fixture
def folders(tmp_path: Path) -> list[LocalFolder]:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    return [LocalFolder(f"local/{name}", tmp_path / name, shipped=False) for name in "abc"]


def test_an_engine_is_loaded_once_for_all_that_come_at_a_time(folders: list[LocalFolder]) -> None:
    loading, go = Loading(), threading.Event()
    engines = Engines(lambda folder: go.wait(10) and loading(folder))
    got: list[Any] = []

    def use() -> None:
        with engines.lease(folders[0]) as engine:
            got.append(engine)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    while engines.state("local/a") == "idle":
        time.sleep(0.001)
    assert engines.state("local/a") == "loading"
    go.set()
    for thread in threads:
        thread.join()
    assert engines.state("local/a") == "loaded"
    assert len({id(engine) for engine in got}) == len(loading.made) == 1


def test_the_least_recently_used_engine_goes_when_the_place_is_needed(folders: list[LocalFolder]) -> None:
    loading = Loading()
    engines = Engines(loading, limit=2)
    for folder in (folders[0], folders[1], folders[0], folders[2]):
        with engines.lease(folder):
            pass
    assert loading.open() == ["local/a", "local/c"]
    assert engines.state("local/b") == "idle"


def test_an_engine_at_work_stays_and_who_finds_no_place_is_told(folders: list[LocalFolder]) -> None:
    loading = Loading()
    engines = Engines(loading, limit=1, waits_s=0.05)
    with engines.lease(folders[0]):
        with pytest.raises(Unavailable, match=r"local/a.*Ask local/b again"), engines.lease(folders[1]):
            pass
        assert loading.open() == ["local/a"]
    with engines.lease(folders[1]):
        assert loading.open() == ["local/b"]


def test_a_model_whose_files_are_replaced_is_loaded_anew(folders: list[LocalFolder]) -> None:
    loading = Loading()
    engines = Engines(loading)
    with engines.lease(folders[0]) as old:
        (folders[0].path / "config.json").write_text('{"new": true}')
        with engines.lease(folders[0]) as new:
            assert new is not old
            assert not old.closed  # somebody is still at it
        assert not old.closed
    assert loading.open() == ["local/a"]
    assert old.closed


def test_a_model_that_cannot_be_loaded_says_so_and_is_tried_again(folders: list[LocalFolder]) -> None:
    working = Loading()
    tries = iter([RuntimeError("bad weights"), None])

    def load(folder: LocalFolder) -> Engine:
        if (error := next(tries)) is not None:
            raise error
        return working(folder)

    engines = Engines(load)
    with (
        pytest.raises(UserError, match="local/a cannot be loaded: RuntimeError: bad weights"),
        engines.lease(folders[0]),
    ):
        pass
    assert engines.state("local/a") == "idle"
    with engines.lease(folders[0]) as engine:
        assert engine.name == "local/a"


def test_a_model_that_does_not_fit_into_memory_is_refused_with_the_numbers(
    folders: list[LocalFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = local_engines.free_memory_bytes()
    assert free is not None
    assert free > 1 << 20
    monkeypatch.setattr(local_engines, "free_memory_bytes", lambda: 3 << 30)
    loading = Loading()
    engines = Engines(loading)
    with engines.lease(folders[0]):
        pass
    big = LocalFolder("local/big", folders[1].path, shipped=False, size_bytes=10 << 30)
    with pytest.raises(UserError, match=r"needs about 22\.0 GiB.*3\.0 GiB are free"), engines.lease(big):
        pass
    assert loading.open() == []  # the idle one was let go first


def test_who_goes_away_while_a_model_loads_leaves_it_free_for_others(folders: list[LocalFolder]) -> None:
    loading = Loading(takes_s=0.1)
    engines = Engines(loading, limit=1)

    async def run() -> None:
        async def wait_for_it() -> None:
            async with engines.lease_async(folders[0]):
                raise AssertionError("it was not to get that far")

        task = asyncio.create_task(wait_for_it())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with engines.lease_async(folders[1]) as engine:  # the one place is free again
            assert engine.name == "local/b"

    asyncio.run(run())
    engines.close()
    assert loading.open() == []


def test_many_who_wait_for_a_place_leave_threads_for_everybody_else(folders: list[LocalFolder]) -> None:
    engines = Engines(Loading(), limit=1, waits_s=5)

    async def wait_for_it() -> None:
        async with engines.lease_async(folders[1]):
            pass

    async def run() -> None:
        async with engines.lease_async(folders[0]):
            waiting = [asyncio.create_task(wait_for_it()) for _ in range(40)]
            await asyncio.sleep(0.05)
            await asyncio.wait_for(asyncio.to_thread(bool), 3)
        await asyncio.gather(*waiting)

    asyncio.run(run())
    engines.close()


def test_an_engine_that_its_last_user_leaves_is_closed_beside_the_event_loop(folders: list[LocalFolder]) -> None:
    closed_in: list[str] = []
    engines = Engines(Loading())

    async def use() -> None:
        async with engines.lease_async(folders[0]) as engine:
            engine.close = lambda: closed_in.append(threading.current_thread().name)
            engines.forget(folders[0].name)

    asyncio.run(use())
    engines._entrance.shutdown(wait=True)
    assert [name.startswith("local-engine") for name in closed_in] == [True]
