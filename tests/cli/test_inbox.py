"""`dizuo run inbox`, `audit`, `plan`, and `dizuo webhook`."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dizuo.wiring import House
from tests.agents.receiver import Receiver
from tests.agents.scripts import ByTurn, call
from tests.cli.conftest import Ran

Dizuo = Callable[..., Ran]

PLAN = [{"text": "Ask", "check": "It is known", "status": "open"}]
ASKS = ([call("update_plan", items=PLAN)], [call("ask_user", question="Which year?")], "Done.")


@pytest.fixture
def asked(dizuo: Dizuo, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a run that has a plan and waits."""
    monkeypatch.setattr(House, "_thinker", lambda _house, _name: ByTurn(*ASKS))
    ran = dizuo("agent", "run", "Find the year.", "--model", "acme/agent")
    assert "It waits until " in ran.err
    return dizuo("run", "list", "--json").json["runs"][0]["id"]


def test_what_waits_is_seen_in_one_place_and_told_when_it_is_answered(dizuo: Dizuo, asked: str) -> None:
    seen = dizuo("run", "inbox")
    assert asked in seen.out
    assert "Which year?" in seen.out
    assert f"dizuo run answer {asked}" in seen.err
    [one] = dizuo("run", "inbox", "--json").json["approvals"]
    assert (one["run_id"], one["tool"], one["state"]) == (asked, "ask_user", "waiting")
    assert one["expires_at"] > one["asked_at"]

    dizuo("run", "answer", asked, "approve", "--reason", "2024")
    assert "Nothing waits for you." in dizuo("run", "inbox").err
    assert "没有等待您的事项" in dizuo("run", "inbox", "--language", "zh").err
    [told] = dizuo("run", "audit", "--run", asked, "--state", "approved", "--days", "1", "--json").json["approvals"]
    assert (told["call_id"], told["state"], told["reason"]) == (one["call_id"], "approved", "2024")
    assert dizuo("run", "audit", "--tool", "write_file", "--json").json == {"approvals": []}
    shown = dizuo("run", "audit", "--language", "zh")
    assert "已批准" in shown.out
    assert dizuo("run", "audit", "--state", "maybe").status == 2


def test_a_run_may_wait_for_ever(dizuo: Dizuo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(House, "_thinker", lambda _house, _name: ByTurn(*ASKS))
    ran = dizuo("agent", "run", "Find it.", "--model", "acme/agent", "--answer-hours", "0")
    assert "It waits until" not in ran.err
    assert [one["expires_at"] for one in dizuo("run", "inbox", "--json").json["approvals"]] == [None]


def test_a_question_that_was_refused_by_time_says_so(dizuo: Dizuo, asked: str, home: Path) -> None:
    from dizuo.platform import schema

    with House.open() as house, house.database.write() as connection:
        steps = schema.run_steps
        row = connection.execute(steps.select().where(steps.c.kind == "asked")).one()
        year = row.at[:4]
        late = {"data": row.data.replace(f'"expires_at": "{year}', '"expires_at": "2020'), "at": row.at}
        connection.execute(steps.update().where(steps.c.number == row.number).values(late))
    with House.open() as house:
        house.approvals.expire()
    assert "not answered in time" in dizuo("run", "follow", asked).out
    assert "逾期未答复" in dizuo("run", "audit", "--language", "zh").out


# --- the plan -------------------------------------------------------------------------------------------------


def test_a_plan_is_shown_and_replaced_from_a_file(dizuo: Dizuo, asked: str, tmp_path: Path) -> None:
    assert "○ Ask" in dizuo("run", "plan", asked).out
    assert dizuo("run", "plan", asked, "--json").json["items"] == [{**PLAN[0], "evidence": ""}]
    file = tmp_path / "plan.yaml"
    file.write_text("- text: 查档案\n  check: 找到年份\n- text: ''\n", "utf-8")
    assert "○ 查档案" in dizuo("run", "plan", asked, "--file", str(file)).out
    assert "Plan changed by you" in dizuo("run", "show", asked).out
    as_json = '{"items": [{"text": "Look", "check": "Seen", "status": "doing"}]}'
    assert "◐ Look" in dizuo("run", "plan", asked, "--file", "-", stdin=as_json).out
    assert dizuo("run", "plan", asked, "--file", "-", stdin="[]").status == 0
    assert "It has no plan." in dizuo("run", "plan", asked).err


@pytest.mark.parametrize(
    "wrong",
    ["- [", "- text: x\n", "- text: x\n  check: y\n  status: maybe\n", "just words", "- text: x\n  chek: y\n", "3"],
)
def test_a_plan_that_cannot_be_read_changes_nothing(dizuo: Dizuo, asked: str, wrong: str) -> None:
    refused = dizuo("run", "plan", asked, "--file", "-", stdin=wrong)
    assert refused.status == 1
    assert "The plan" in refused.err
    assert "Traceback" not in refused.err
    assert "○ Ask" in dizuo("run", "plan", asked).out


def test_a_file_that_cannot_be_read_is_said(dizuo: Dizuo, asked: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\xff")
    for file in (tmp_path / "missing.yaml", tmp_path, tmp_path / "plan.yaml"):
        refused = dizuo("run", "plan", asked, "--file", str(file))
        assert refused.status == 1
        assert f"{file}: cannot be read: " in refused.err


def test_a_plan_is_edited_in_the_editor(dizuo: Dizuo, asked: str, tmp_path: Path, monkeypatch: Any) -> None:
    script = tmp_path / "editor.py"
    edits = "import sys, pathlib; f = pathlib.Path(sys.argv[1]); f.write_text(f.read_text('utf-8')"
    script.write_text(f"{edits}.replace('text: Ask', 'text: Ask twice'), 'utf-8')")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    assert "○ Ask twice" in dizuo("run", "plan", asked, "--edit").out
    again = dizuo("run", "plan", asked, "--edit", "--file", "-")
    assert again.status == 1
    script.write_text("")
    assert "The plan stays as it is." in dizuo("run", "plan", asked, "--edit").err
    script.write_text(f"{edits}.replace('check:', 'chek:'), 'utf-8')")
    assert dizuo("run", "plan", asked, "--edit").status == 1
    script.write_text("import sys; sys.exit(3)")
    assert "has failed" in dizuo("run", "plan", asked, "--edit").err
    monkeypatch.setenv("VISUAL", "/no/such/editor")
    assert "cannot be started" in dizuo("run", "plan", asked, "--edit").err
    assert "○ Ask twice" in dizuo("run", "plan", asked).out


# --- the webhook ----------------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as one:
        yield one


def test_an_address_is_set_tried_told_and_removed(dizuo: Dizuo, asked: str, receiver: Receiver) -> None:
    assert "No webhook is set." in dizuo("webhook", "show").err
    assert dizuo("webhook", "test").status == 1
    made = dizuo("webhook", "set", receiver.url, "--json").json
    assert made["webhook"]["url"] == receiver.url
    assert dizuo("webhook", "test").out.startswith("It was taken, in ")
    assert receiver.got[-1].said["type"] == "webhook.test"
    assert receiver.got[-1].verified(made["secret"])
    receiver.answers = [500]
    failed = dizuo("webhook", "test", "--language", "zh")
    assert failed.status == 1
    assert "未能通知 webhook" in failed.err
    with House.open() as house:
        import threading

        house.webhook.deliver(threading.Event())
    shown = dizuo("webhook", "show")
    assert made["secret"] not in shown.out + shown.err
    assert asked in shown.out
    assert "sent" in shown.out
    assert [one["run_id"] for one in dizuo("webhook", "show", "--json").json["deliveries"]] == [asked]
    given = dizuo("webhook", "set", receiver.url, "--secret", "-", stdin=made["secret"] + "\n")
    assert made["secret"] in given.out
    assert dizuo("webhook", "set", "http://example.com/x").status == 1
    assert dizuo("webhook", "remove", "--yes", "--json").json == {"removed": receiver.url}
