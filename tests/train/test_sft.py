"""The stage that fine-tunes on conversations."""

import json
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dizuo.core.errors import UserError
from dizuo.nn.chat import CHAT_TEMPLATE, render_chat
from dizuo.nn.checkpoint import load_model, read_provenance
from dizuo.nn.tokenizer import tokenizer_of
from dizuo.train.recipe import parse_recipe
from dizuo.train.rows import read_set
from dizuo.train.sft import ChatTuning, Conversation, pack
from tests.tiny_models import save_llama
from tests.train.tuning import run, write_rows

ROWS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": f"weather {n}"},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "arguments": {"city": f"P{n}"}}]},
            {"role": "tool", "content": "sunny"},
            {"role": "assistant", "content": "It is fine."},
        ],
        "tools": [{"type": "function", "function": {"name": "weather"}}],
    }
    for n in range(40)
]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("start") / "tiny")


def recipe(start: Path, data: str, **more: Any) -> dict[str, Any]:
    return {"stage": "sft", "model": {"start": str(start)}, "data": [{"name": data}], "length": 256, "batch": 2, **more}


def prepared(start: Path, tmp_path: Path, **more: Any) -> tuple[ChatTuning, Any]:
    made = parse_recipe({**recipe(start, write_rows(tmp_path / "chat.jsonl", ROWS), **more), "steps": 1})
    stage = ChatTuning()
    stage.prepare(made, tmp_path / "trainings" / ".cache")
    return stage, made


def test_only_what_the_assistant_says_is_learnt(start: Path, tmp_path: Path) -> None:
    stage, made = prepared(start, tmp_path)
    batch, _state = next(stage.batches(made, None, 0, 1))
    tokenizer = tokenizer_of(start)
    first = (batch.documents[0] == 0) & (batch.targets[0] >= 0)
    learnt = tokenizer.decode(batch.targets[0][first].tolist(), skip_special_tokens=False)
    assert learnt.startswith('<tool_call>{"name": "weather", "arguments": {"city": "P')
    assert learnt.endswith("}</tool_call><|im_end|>It is fine.<|im_end|>")
    assert "sunny" not in learnt


def test_a_row_holds_whole_conversations_as_they_are_rendered(start: Path, tmp_path: Path) -> None:
    stage, made = prepared(start, tmp_path)
    batch, _state = next(stage.batches(made, None, 0, 1))
    row, documents = batch.ids[0], batch.documents[0]
    assert int(documents.max()) >= 1  # several share the row
    rendered = {render_chat(one["messages"], one["tools"]) for one in ROWS}
    for n in range(int(documents.max()) + 1):
        said = tokenizer_of(start).decode(row[documents == n].tolist(), skip_special_tokens=False)
        assert any(one.startswith(said) and len(one) - len(said) <= 1 for one in rendered)
        assert batch.positions[0][documents == n].tolist() == list(range(int((documents == n).sum())))


def test_rows_are_packed_without_loss_and_none_too_long() -> None:
    rng = np.random.default_rng(0)
    made = [Conversation(np.arange(n), np.ones(n, dtype=bool)) for n in rng.integers(2, 100, 700)]
    rows = pack(made, 128)
    assert sorted(len(one.ids) for row in rows for one in row) == sorted(len(one.ids) for one in made)
    assert all(sum(len(one.ids) - 1 for one in row) <= 128 for row in rows)
    assert len(rows) < 1.1 * sum(len(one.ids) - 1 for one in made) / 128 + 2


def test_tuning_lowers_the_loss_and_the_folder_gets_the_chat_template_and_ends_its_turns(
    start: Path, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "chat.jsonl", ROWS)
    lines = run(tmp_path / "run", recipe(start, data), 15)
    assert lines[-1]["val_loss"] < 0.7 * lines[0]["loss"]
    folder = tmp_path / "run" / "model"
    told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    assert told["chat_template"] == CHAT_TEMPLATE
    assert load_model(folder).config.eos_ids == (0, tokenizer_of(start).token_to_id("<|im_end|>"))
    made = read_provenance(folder)
    assert made is not None
    assert made.parents == [str(start)]


def test_batches_are_the_same_from_the_cache(start: Path, tmp_path: Path) -> None:
    first, made = prepared(start, tmp_path)
    second, _made = prepared(start, tmp_path)
    both = zip(first.batches(made, None, 0, 1), second.batches(made, None, 0, 1), strict=True)
    for (a, _s), (b, _t) in islice(both, 3):
        assert a.ids.equal(b.ids)
        assert a.targets.equal(b.targets)


def test_conversations_that_never_fit_are_refused_with_the_length(start: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fits into 8 tokens"):
        prepared(start, tmp_path, length=8)


def test_rows_without_messages_or_text_are_refused(start: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "bad.jsonl", [{"story": "hello"}] * 3)
    with pytest.raises(UserError, match="no field 'messages'; they have story"):
        run(tmp_path / "run", recipe(start, data), 1)


def test_texts_beside_conversations_are_learnt_whole_in_pieces(start: Path, tmp_path: Path) -> None:
    text = "All the king's horses and all the king's men. " * 12
    data = write_rows(tmp_path / "text.jsonl", [{"text": text}] * 30)
    made = parse_recipe({**recipe(start, data, length=64), "steps": 1})
    stage = ChatTuning()
    stage.prepare(made, tmp_path / "trainings" / ".cache")
    batch, _state = next(stage.batches(made, None, 0, 1))
    used = batch.documents >= 0
    assert (batch.targets[used] >= 0).all()
    whole = stage._train[0]
    pieces = [one for row in whole for one in row]
    assert max(map(len, pieces)) == 64
    assert tokenizer_of(start).decode(pieces[0].ids.tolist()).startswith("All the king's")


def test_texts_that_all_share_words_with_an_evaluation_set_leave_nothing_to_learn(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dizuo.train.sft.Overlap", lambda _texts: SimpleNamespace(without=lambda _rows: iter(())))
    data = write_rows(tmp_path / "text.jsonl", [{"text": "All of this is asked."}] * 30)
    with pytest.raises(UserError, match="No conversation of"):
        run(tmp_path / "run", recipe(start, data), 1)


def test_no_more_of_a_text_is_read_than_a_training_can_draw(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "text.jsonl", [{"text": "x" * 100}] * 500)
    rows, held_out = read_set(data, "train", (1000, None))
    assert len(rows.rows) + len(held_out.rows) == 10
