"""`dizuo route …`."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from dizuo.core.errors import ModelDown
from dizuo.core.messages import Message
from dizuo.wiring import House
from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_a_route_is_added_listed_shown_replaced_and_removed(dizuo: Command) -> None:
    dizuo("provider", "add", "one", "--url", "http://127.0.0.1:9/v1", "--key", "-")
    added = dizuo("route", "add", "fast", "one/a=3", "one/b", "--fallback", "one/c", "--timeout", "30", "--json")
    assert added.status == 0, added.err
    assert added.json["targets"] == [{"model": "one/a", "weight": 3.0}, {"model": "one/b", "weight": 1.0}]
    assert added.json["options"]["total_s"] == 30
    listed = dizuo("route", "list").out
    assert "one/a 75%" in listed
    assert "one/c" in listed
    assert "都无法回答时" in dizuo("route", "show", "fast", "--language", "zh").out
    again = dizuo("route", "add", "fast", "one/b")
    assert (again.status, again.out) == (1, "")
    assert "--replace" in again.err
    assert dizuo("route", "add", "fast", "one/b", "--replace").out == "A route to one/b.\n"
    assert dizuo("route", "remove", "fast", "--json").json == {"removed": "fast"}
    assert dizuo("route", "list", "--json").json == {"routes": []}


def test_health_tells_what_another_process_has_seen(dizuo: Command, home: Path) -> None:
    assert "No model has had trouble" in dizuo("route", "health").err
    with House.open({"DIZUO_HOME": str(home)}) as house:
        house.providers.add("one", base_url="http://127.0.0.1:9/v1")
        with pytest.raises(ModelDown):
            asyncio.run(anext(house.chat("one/a").stream([Message(role="user", content="?")])))  # pyright: ignore
    (seen,) = dizuo("route", "health", "--json").json["models"]
    assert (seen["model"], seen["state"]) == ("one/a", "closed")
    assert "cannot be reached" in " ".join(dizuo("route", "health").out.split())
