"""The webhook: what waits is told, signed, once for each question; faults of the receiver are waited out and seen."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dizuo.agents.web import WebLimits
from dizuo.agents.webhook import RETRY_S, Webhook, signature
from dizuo.core.errors import NotFound, UserError
from dizuo.platform import schema
from dizuo.platform.secrets import Secrets
from dizuo.wiring import House
from tests.agents.receiver import Receiver
from tests.agents.scripts import call
from tests.agents.test_approvals import Desk

ASKS = [call("ask_user", question="年份是哪一年？")]
GOING = threading.Event()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as one:
        yield one


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with House.open() as house:
        made = Desk(house)
        made.say(ASKS, "Done.")
        yield made


def hook_of(desk: Desk, *retry_s: float) -> Webhook:
    house = desk.house
    secrets, limits = Secrets(house.settings.home), WebLimits(seconds=0.5)
    here = "https://dizuo.example"
    return Webhook(house.database, secrets, house.approvals, lambda: here, limits, retry_s or RETRY_S)


@pytest.mark.both_databases
def test_a_question_is_told_once_with_all_that_one_needs_to_answer(desk: Desk, receiver: Receiver) -> None:
    hook = hook_of(desk)
    made = hook.set(receiver.url)
    hook.deliver(GOING)  # nothing waits
    run_id = desk.run(answer_hours=2)
    hook.deliver(GOING)
    hook.deliver(GOING)
    [got] = receiver.got
    assert got.path == "/hook"
    assert got.headers["content-type"] == "application/json"
    assert got.verified(made.secret)
    [asked] = desk.house.approvals.waiting()
    assert asked.expires_at is not None
    assert got.said["type"] == "approval.asked"
    assert got.said["data"] == {
        "run_id": run_id,
        "goal": "Write it.",
        "call_id": asked.call_id,
        "tool": "ask_user",
        "why": "question",
        "arguments": asked.arguments,
        "arguments_cut": False,
        "asked_at": asked.asked_at.isoformat(),
        "expires_at": asked.expires_at.isoformat(),
        "page": f"https://dizuo.example/runs/{run_id}#step-{asked.step}",
        "answer": f"https://dizuo.example/api/runs/{run_id}/answer",
    }
    assert "年份" in json.loads(got.said["data"]["arguments"])["question"]
    [sent] = hook.deliveries()
    assert (sent.id, sent.status, sent.tries, sent.due_at) == (got.id, "sent", 1, None)


def test_the_signature_is_the_one_of_the_specification() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks (libraries' test vector)."""
    import base64

    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("fault", [500, 404, "hang", "break", "http://127.0.0.1:1/", "https://other.example/"])
def test_whatever_the_receiver_does_wrong_it_is_told_again_and_that_is_seen(
    desk: Desk, receiver: Receiver, fault: int | str
) -> None:
    hook = hook_of(desk, 0.2, 60)
    hook.set(receiver.url)
    desk.run()
    receiver.answers = [fault]
    began = time.monotonic()
    hook.deliver(GOING)
    assert time.monotonic() - began < 5
    [waits] = hook.deliveries()
    assert (waits.status, waits.tries) == ("waiting", 1)
    assert waits.problem is not None
    info = hook.get()
    assert info is not None
    assert (info.problem, info.waiting) == (waits.problem, 1)
    time.sleep(0.3)
    hook.deliver(GOING)
    assert [one.status for one in hook.deliveries()] == ["sent"]
    assert [one.id for one in receiver.got] == [waits.id] * 2, "the same id: the receiver knows it again"
    assert hook.get() == info.model_copy(update={"problem": None, "waiting": 0})


def test_a_redirect_leads_nowhere(desk: Desk, receiver: Receiver) -> None:
    """Neither to this machine nor to anywhere else: what is sent is for one address."""
    with Receiver().serving() as inner:
        receiver.answers = [inner.url]
        hook = hook_of(desk)
        hook.set(receiver.url)
        with pytest.raises(UserError, match="redirects"):
            hook.test()
        assert inner.got == []


def test_a_name_of_the_internet_that_stands_for_this_machine_is_not_asked(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiohttp

    async def here(_self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", here)
    hook = hook_of(desk)
    hook.set(f"https://hooks.example.com:{receiver.server_port}/x")
    with pytest.raises(UserError, match="private network"):
        hook.test()
    assert receiver.got == []


def test_after_the_last_try_it_is_given_up_and_another_address_is_told(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    hook = hook_of(desk, 0.0)
    hook.set(receiver.url)
    desk.run()
    receiver.answers = [500, 503]
    for _ in range(3):
        hook.deliver(GOING)
    assert len(receiver.got) == 2
    [given_up] = hook.deliveries("failed")
    assert given_up.tries == 2
    assert "not tried again" in caplog.text
    assert [one.levelno for one in caplog.records if "not tried again" in one.message] == [logging.ERROR]
    info = hook.get()
    assert info is not None
    assert (info.failed, str(info.problem)) == (1, "127.0.0.1 answers with the status 503.")
    hook.set(receiver.url)
    hook.deliver(GOING)
    assert [one.status for one in hook.deliveries()] == ["sent"]


def test_what_is_gone_is_not_tried_again(desk: Desk, receiver: Receiver) -> None:
    hook = hook_of(desk)
    hook.set(receiver.url)
    desk.run()
    receiver.answers = [410]
    hook.deliver(GOING)
    assert [one.status for one in hook.deliveries()] == ["failed"]


def test_what_was_answered_meanwhile_is_told_no_more(desk: Desk, receiver: Receiver) -> None:
    hook = hook_of(desk, 0.0)
    hook.set(receiver.url)
    run_id = desk.run()
    receiver.answers = [500]
    hook.deliver(GOING)
    [asked] = desk.house.approvals.waiting()
    desk.house.runs.answer(run_id, asked.call_id, "approve", reason="2024")
    hook.deliver(GOING)
    assert len(receiver.got) == 1
    assert [one.status for one in hook.deliveries()] == ["dropped"]


def test_many_are_told_side_by_side_and_a_stop_waits_for_none(desk: Desk, receiver: Receiver) -> None:
    hook = hook_of(desk)
    hook.set(receiver.url)
    for _ in range(20):
        desk.run()
    receiver.answers = ["hang"] * 20
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    began = time.monotonic()
    hook.deliver(stopping)
    assert time.monotonic() - began < 3
    receiver.answers = []
    hook.deliver(GOING)
    assert {one.status for one in hook.deliveries()} == {"sent", "waiting"} or len(receiver.got) >= 20
    with desk.house.database.write() as connection:  # those that took too long are due again
        connection.execute(schema.webhook_deliveries.update().values(due_at=schema.now()))
    hook.deliver(GOING)
    assert {one.status for one in hook.deliveries()} == {"sent"}


def test_the_worker_tells_and_takes_up_what_a_dead_one_left(home: Path, receiver: Receiver) -> None:
    with House.open() as house:
        desk = Desk(house)
        desk.say(ASKS, "Done.")
        hook = hook_of(desk)
        hook.set(receiver.url)
        desk.run()  # no worker runs
    with House.open() as house:
        assert house.jobs.start()
        deadline = time.monotonic() + 20
        while not receiver.got:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_secret_is_kept_encrypted_and_said_once(desk: Desk, receiver: Receiver) -> None:
    hook = hook_of(desk)
    made = hook.set(receiver.url)
    assert made.secret.startswith("whsec_")
    with desk.house.database.read() as connection:
        row = connection.execute(schema.webhook.select()).one()
    assert made.secret.removeprefix("whsec_").encode() not in bytes(row.secret_cipher)
    assert made.secret not in str(hook.get())
    other = hook.set(receiver.url)
    assert other.secret != made.secret
    given = hook.set(receiver.url, made.secret)
    assert given.secret == made.secret
    (desk.house.settings.home / "secret.key").unlink()
    fresh = hook_of(desk)
    info = fresh.get()
    assert info is not None
    assert "cannot be read" in str(info.problem)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("http://hooks.example.com/x", ""),  # others could read it on the way
        ("https://me:pw@hooks.example.com/x", ""),
        ("ftp://hooks.example.com", ""),
        ("hooks", ""),
        ("https://hooks.example.com/x", "secret"),
        ("https://hooks.example.com/x", "whsec_AAAA"),
        ("https://hooks.example.com/x", "whsec_" + "*" * 40),
    ],
)
def test_what_cannot_be_used_is_refused(desk: Desk, url: str, secret: str) -> None:
    hook = hook_of(desk)
    with pytest.raises(UserError):
        hook.set(url, secret)
    assert hook.get() is None


def test_without_an_address_nothing_is_told(desk: Desk, receiver: Receiver) -> None:
    hook = hook_of(desk)
    desk.run()
    hook.deliver(GOING)
    assert hook.deliveries() == []
    for act in (hook.remove, hook.test):
        with pytest.raises(NotFound):
            act()
    hook.set(receiver.url)
    hook.deliver(GOING)
    assert len(receiver.got) == 1, "what waits already is told to the new one"
    hook.remove()
    desk.run()
    hook.deliver(GOING)
    assert len(receiver.got) == 1
