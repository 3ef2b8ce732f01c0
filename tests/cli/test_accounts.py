"""`dizuo key …` and `dizuo user …`."""

from collections.abc import Callable
from pathlib import Path

from dizuo.wiring import House
from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_a_key_is_shown_once_works_and_can_be_revoked(dizuo: Command, home: Path) -> None:
    made = dizuo("key", "create", "--name", "laptop", "--json").json
    with House.open({"DIZUO_HOME": str(home)}) as house:
        assert house.identity.user_of_key(made["key"]) is not None
    listed = dizuo("key", "list", "--json")
    assert made["key"] not in listed.out
    assert listed.json["keys"][0]["prefix"] == made["prefix"]
    assert "laptop" in dizuo("key", "list").out
    assert dizuo("key", "revoke", made["prefix"], "--json").json["revoked_at"]
    with House.open({"DIZUO_HOME": str(home)}) as house:
        assert house.identity.user_of_key(made["key"]) is None


def test_a_key_alone_goes_to_stdout(dizuo: Command) -> None:
    ran = dizuo("key", "create")
    assert len(ran.out.split()) == 1
    assert "cannot be shown again" in ran.err


def test_a_member_gets_a_link_that_sets_a_password(dizuo: Command, home: Path) -> None:
    added = dizuo("user", "add", "ada", "--json").json
    assert added["link"] == f"http://127.0.0.1:8000/login?token={added['token']}"
    newer = dizuo("user", "link", "ada", "--json").json["token"]
    with House.open({"DIZUO_HOME": str(home)}) as house:
        assert house.identity.redeem(newer, "a long enough password")
    assert {user["name"]: user["role"] for user in dizuo("user", "list", "--json").json["users"]} == {
        "owner": "owner",
        "ada": "member",
    }
    assert dizuo("user", "add", "ada").status == 1
    assert dizuo("user", "remove", "ada", "--json").json == {"removed": "ada"}
    assert dizuo("user", "remove", "owner").status == 1
