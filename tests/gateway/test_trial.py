"""One try of a model."""

import asyncio
from pathlib import Path

import pytest

from dizuo.core.errors import BudgetSpent, NotFound
from dizuo.core.events import Done, Event, TextDelta
from dizuo.gateway import trial
from dizuo.gateway.probe import probe
from dizuo.wiring import House
from tests.tiny_models import save_llama


def tried(house: House, name: str = "local/tiny") -> list[Event]:
    async def run() -> list[Event]:
        with house.traces.traced("a trial", "python"):
            return [event async for event in trial.attempt(house.gateway, name, "The quick")]

    return asyncio.run(run())


@pytest.fixture
def folder(house: House) -> Path:
    """Where its own models lie."""
    return house.settings.home / "models"


def test_a_model_with_little_room_writes_until_it_is_full(house: House, folder: Path) -> None:
    save_llama(folder / "tiny", chat=False, positions=32)
    events = tried(house)
    assert isinstance(events[-1], Done)
    assert any(isinstance(event, TextDelta) for event in events)


def test_a_model_that_would_go_on_and_on_is_stopped(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MAX_PIECES", 3)
    save_llama(folder / "tiny", chat=False)
    events = tried(house)
    assert sum(isinstance(event, TextDelta) for event in events) == 3
    assert events[-1] == Done(finish_reason="length")


@pytest.mark.parametrize("chat", [False, True])
def test_a_try_stands_in_the_ledger_under_an_app_of_its_own(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch, chat: bool
) -> None:
    monkeypatch.setattr(trial, "MAX_PIECES", 3)
    save_llama(folder / "tiny", chat=chat)
    tried(house)
    with pytest.raises(NotFound):
        tried(house, "local/none")
    [row] = house.usage.report("app").rows
    assert (row.name, row.calls) == ("dizuo/trial", 1)
    assert min(row.prompt_tokens, row.completion_tokens) > 0
    assert house.traces.list()[0].app == "dizuo/trial"


def test_a_try_that_no_budget_is_left_for_is_refused(house: House) -> None:
    house.limits.set("app", trial.TRIAL_APP, budget=0)
    with pytest.raises(BudgetSpent):
        asyncio.run(_probed(house))


async def _probed(house: House) -> None:
    with house.traces.traced("a trial", "python"):
        await probe(house.gateway, "local/minilm")
