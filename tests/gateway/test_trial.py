"""One try of a model."""

import asyncio
from pathlib import Path

import pytest

from dizuo.core.events import Done, Event, TextDelta
from dizuo.gateway import trial
from dizuo.gateway.models import Models
from tests.tiny_models import save_llama


def tried(folder: Path) -> list[Event]:
    models = Models(folder=folder)

    async def run() -> list[Event]:
        return [event async for event in trial.attempt(models, "local/tiny", "The quick")]

    try:
        return asyncio.run(run())
    finally:
        models.close()


def test_a_model_with_little_room_writes_until_it_is_full(tmp_path: Path) -> None:
    save_llama(tmp_path / "tiny", chat=False, positions=32)
    events = tried(tmp_path)
    assert isinstance(events[-1], Done)
    assert any(isinstance(event, TextDelta) for event in events)


def test_a_model_that_would_go_on_and_on_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_PIECES", 3)
    save_llama(tmp_path / "tiny", chat=False)
    events = tried(tmp_path)
    assert sum(isinstance(event, TextDelta) for event in events) == 3
    assert events[-1] == Done(finish_reason="length")
