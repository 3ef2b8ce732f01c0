"""Runs that agents of others ask for, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dizuo.agents.tasks import Asker
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.wiring import House
from tests.agents.scripts import ByTurn


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    with House.open({"DIZUO_HOME": str(home), "DIZUO_MODEL": "scripted/agent"}) as house:
        house.equipment.chat = lambda _name: ByTurn("Done.")
        yield house


@pytest.mark.both_databases
def test_tasks_are_found_with_their_key_only(house: House) -> None:
    owner, other = house.identity.owner().id, house.identity.create_user("other").id
    asker = Asker(owner, None)
    first = house.tasks.send(asker, "Go.", context_id="ours")
    second = house.tasks.send(asker, "又来。")
    assert (first.context_id, second.context_id) == ("ours", second.run.id)
    assert {one.run.id for one in house.tasks.list(asker)} == {first.run.id, second.run.id}
    assert [one.run.id for one in house.tasks.list(asker, "ours")] == [first.run.id]
    for stranger in (Asker(owner, 1), Asker(other, None), Asker(owner, None, "researcher")):
        assert house.tasks.list(stranger) == []
        for ask in (house.tasks.get, house.tasks.cancel):
            with pytest.raises(NotFound):
                ask(stranger, first.run.id)
    for nothing in ("", "no-such-task", "a\0b"):
        with pytest.raises(NotFound):
            house.tasks.get(asker, nothing)
    assert house.tasks.list(asker, "a\0b") == []
    assert house.tasks.cancel(asker, first.run.id).run.reason == "cancelled"
    with pytest.raises(Conflict):
        house.tasks.cancel(asker, first.run.id)
    assert house.runs.get(second.run.id, owner).goal == "又来。"


@pytest.mark.parametrize("context_id", ["x" * 129, "a\0b", "a\nb"])
def test_what_cannot_be_a_conversation_starts_no_run(house: House, context_id: str) -> None:
    asker = Asker(house.identity.owner().id, None)
    with pytest.raises(UserError):
        house.tasks.send(asker, "Go.", context_id=context_id)
    assert house.runs.list() == []


def test_a_task_that_a_person_lets_rest_is_not_begun_again_by_a_message(house: House) -> None:
    asker = Asker(house.identity.owner().id, None)
    task = house.tasks.send(asker, "Go.")
    assert house.tasks.send(asker, "Faster.", task_id=task.run.id).run.status == "active"
    house.runs.pause(task.run.id)
    with pytest.raises(Conflict, match="let it go on"):
        house.tasks.send(asker, "Go on.", task_id=task.run.id)
    assert house.runs.get(task.run.id).status == "paused"
