"""The table of routes: what may stand in it."""

import re
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.gateway.routes import RouteOptions, Routes, Target, parse_target
from dizuo.platform import changes
from dizuo.platform.database import Database

KNOWN = ("a/m", "b/m", "c/m")


def check(model: str) -> None:
    if model not in KNOWN:
        raise NotFound("No model is named {name!r}.", name=model)


@pytest.fixture
def routes(database: Database) -> Routes:
    return Routes(database, check)


@pytest.fixture
def strict(tmp_path: Path) -> Routes:
    """Routes without tables: what is refused does not come that far."""
    return Routes(Database(f"sqlite:///{tmp_path / 'dizuo.db'}"), check)


def test_a_route_is_kept_as_it_was_given_and_gone_when_removed(routes: Routes) -> None:
    made = routes.add("fast", [Target(model="a/m", weight=3), Target(model="b/m")], ["c/m"], RouteOptions(total_s=30))
    assert routes.get("fast") == made == routes.current("fast")
    assert made.shares == (0.75, 0.25)
    assert str(made.note) == "A route to a/m (75%), b/m (25%); when none answers, c/m."
    assert routes.remove("fast") == made
    assert routes.list() == []
    with pytest.raises(NotFound, match="No route is named 'fast'"):
        routes.current("fast")


def test_a_name_is_taken_once_and_replaced_only_on_demand(routes: Routes) -> None:
    first = routes.add("快速", [Target(model="a/m")])
    with pytest.raises(Conflict, match="already"):
        routes.add("快速", [Target(model="b/m")])
    assert routes.get("快速") == first
    second = routes.add("快速", [Target(model="b/m")], replace=True)
    assert routes.list() == [second]
    assert (second.created_at, second.targets[0].model) == (first.created_at, "b/m")
    assert routes.current("快速") == second


@pytest.mark.parametrize("name", ["", "a/b", "-fast", "fa\nst", "a" * 65, "a b", "health", "<b>", "\0"])
def test_a_name_that_a_model_or_an_address_could_have_is_refused(strict: Routes, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a route"):
        strict.add(name, [Target(model="a/m")])


@pytest.mark.parametrize(
    ("targets", "more", "says"),
    [
        ([], {}, "no target"),
        (["a/m", "a/m"], {}, "twice"),
        (["a/m"], {"fallbacks": ["a/m"]}, "twice"),
        (["nowhere/m"], {}, "No model is named 'nowhere/m'"),
        (["fast"], {}, "cannot lead to another"),
        ([("a/m", 0.0)], {}, "weight of a/m is 0.0"),
        ([("a/m", float("nan"))], {}, "weight of a/m is nan"),
        ([("a/m", float("inf"))], {}, "weight of a/m is inf"),
        ([f"a{n}/m" for n in range(17)], {}, "17 models"),
        (["a/m"], {"options": RouteOptions(total_s=-1)}, r"total_s is -1.0; it has to be 0.1 to 3600.0"),
        (["a/m"], {"options": RouteOptions(tries=0)}, "tries is 0"),
        (["a/m"], {"options": RouteOptions(connect_s=float("nan"))}, "connect_s is nan"),
    ],
)
def test_what_cannot_work_is_refused(strict: Routes, targets: list[Any], more: dict[str, Any], says: str) -> None:
    given = [Target(model=t) if isinstance(t, str) else Target(model=t[0], weight=t[1]) for t in targets]
    with pytest.raises(UserError, match=says):
        strict.add("fast", given, **more)


def test_what_another_process_changes_holds_for_the_next_call(
    database: Database, routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not database.is_sqlite:
        monkeypatch.setattr(changes, "_FRESH_S", -1.0)  # there after a moment
    there = Routes(database, check)
    with pytest.raises(NotFound):
        routes.current("fast")
    there.add("fast", [Target(model="a/m")])
    assert routes.current("fast").targets[0].model == "a/m"
    there.add("fast", [Target(model="b/m")], replace=True)
    assert routes.current("fast").targets[0].model == "b/m"


def test_targets_are_read_as_people_write_them() -> None:
    assert parse_target("a/m") == Target(model="a/m")
    assert parse_target(" a/m = 2.5 ") == Target(model="a/m", weight=2.5)
    with pytest.raises(UserError, match=re.escape("'a/m=much' is no target")):
        parse_target("a/m=much")
