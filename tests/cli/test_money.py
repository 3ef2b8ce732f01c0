"""`dizuo usage`, `dizuo limit …`, `dizuo price …`, and keys that may do less."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from dizuo.wiring import House
from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_usage_is_shown_as_a_table_as_json_and_for_spreadsheets(dizuo: Command, home: Path) -> None:
    from dizuo.core.messages import Usage

    with House.open({"DIZUO_HOME": str(home)}) as house, house.gateway.call("embedding", "=acme/x") as call:
        call.usage = Usage(prompt_tokens=1_000, cpu_s=2.5)
    assert "1,000" in dizuo("usage").out
    assert dizuo("usage", "--by", "day", "--json").json["total"]["cpu_s"] == 2.5
    [row] = csv.DictReader(io.StringIO(dizuo("usage", "--csv").out, newline=""))
    assert (row["model"], row["unpriced"]) == ("'=acme/x", "1")
    assert "dizuo price set" in dizuo("usage").err
    assert dizuo("usage", "--by", "colour").status == 1


def test_a_limit_is_set_listed_changed_and_lifted(dizuo: Command) -> None:
    assert dizuo("limit", "set", "user", "owner", "--requests", "60", "--budget", "5", "--period", "day").status == 0
    shown = dizuo("limit", "list").out
    assert "owner" in shown
    assert "5 USD / day" in shown
    changed = dizuo("limit", "set", "user", "owner", "--requests", "none", "--json").json
    assert (changed["requests_per_minute"], changed["budget"]) == (None, 5.0)
    assert dizuo("limit", "remove", "user", "owner").status == 0
    assert dizuo("limit", "list", "--json").json == {"limits": []}
    wrong = dizuo("limit", "set", "all", "--tokens", "many")
    assert (wrong.status, "must be a number" in wrong.err) == (1, True)


def test_a_price_is_set_listed_and_removed(dizuo: Command) -> None:
    dizuo("price", "set", "local/*", "--cpu-hour", "0.04", "--source", "electricity")
    assert dizuo("price", "list", "--json").json["prices"][0]["cpu_hour"] == 0.04
    listed = dizuo("price", "list")
    assert "electricity" in listed.out
    told = " ".join(listed.err.split())
    assert "check them before you rely on a sum" in told
    assert "7.1 yuan, the rate of 2025-09-30" in told
    assert dizuo("price", "remove", "local/*").status == 0
    assert dizuo("price", "remove", "local/*").status == 1


def test_a_key_that_may_less_is_made_and_rotated(dizuo: Command, home: Path) -> None:
    made = dizuo("key", "create", "--scope", "models", "--model", "local/*", "--expires", "90d", "--json").json
    assert (made["scopes"], made["models"]) == (["models"], ["local/*"])
    rotated = dizuo("key", "rotate", str(made["id"]), "--grace", "24h", "--json").json
    with House.open({"DIZUO_HOME": str(home)}) as house:
        for secret in (made["key"], rotated["key"]):
            holder = house.identity.key_holder(secret)
            assert holder is not None
            assert holder.key.models == ("local/*",)
    assert "local/*" in dizuo("key", "list").out
    assert dizuo("key", "create", "--expires", "soon").status == 1
    assert dizuo("key", "create", "--user", "nobody").status == 1
    assert dizuo("key", "rotate", str(made["id"]), "--grace", "a while").status == 1
