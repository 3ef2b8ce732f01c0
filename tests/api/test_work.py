"""Work that blocks stays in threads of its own."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.api.conftest import Served


class Stuck:
    """A reranker that is done when it is told."""

    name = "local/stuck"

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.came = threading.Semaphore(0)

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        self.came.release()
        assert self.go_on.wait(60)
        return [0.5] * len(documents)

    def count_tokens(self, text: str) -> int:
        return 1


def test_a_flood_of_ranking_leaves_threads_for_everyone_else(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr(server.house.models, "reranker", lambda _name: stuck)
    body = {"model": stuck.name, "query": "leave?", "documents": ["a"]}

    async def run() -> list[int]:
        headers = {"Authorization": f"Bearer {server.key}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60, limits=limits) as client:
            flood = [asyncio.create_task(client.post("/v1/rerank", json=body)) for _ in range(60)]
            try:
                await asyncio.to_thread(lambda: [stuck.came.acquire(timeout=20) for _ in range(10)])
                listed: Any = await client.get("/v1/models")  # takes one of the threads of everyone
                assert listed.status_code == 200
                assert not any(one.done() for one in flood)
            finally:
                stuck.go_on.set()
            return [(await one).status_code for one in flood]

    assert asyncio.run(run()) == [200] * 60
