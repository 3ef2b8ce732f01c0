"""Pretraining: what it learns from, and what it goes on from."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from dizuo.core.errors import UserError
from dizuo.data.programs import PROGRAMS
from dizuo.nn.checkpoint import load_model, read_provenance
from dizuo.nn.tokenizer import load_tokenizer
from dizuo.train import pretrain
from dizuo.train.pretrain import Pretrain
from dizuo.train.recipe import parse_recipe
from dizuo.train.stage import listen
from tests.tiny_models import save_bert, save_llama, tiny_encoder
from tests.train.tuning import run

SMALL: dict[str, Any] = {
    "stage": "pretrain",
    "data": [{"name": "guide"}],
    "length": 32,
    "batch": 4,
    "model": {"channels": 32, "layers": 1, "heads": 2},
    "options": {"vocab_size": 400, "evaluate_tokens": 512},
}


def test_pretraining_goes_on_from_a_checkpoint_with_its_tokenizer_and_says_so(tmp_path: Path) -> None:
    start = save_llama(tmp_path / "start")
    raw = {**SMALL, "model": {"start": str(start)}, "lr": 0.0, "weight_decay": 0.0}
    run(tmp_path / "trainings" / "run", raw, 1)
    folder = tmp_path / "trainings" / "run" / "model"
    for ours, theirs in zip(load_model(folder).parameters(), load_model(start).parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)  # a rate of 0: nothing was learnt, and nothing begun anew
    assert (folder / "tokenizer.json").read_bytes() == (start / "tokenizer.json").read_bytes()
    made = read_provenance(folder)
    assert made is not None
    assert made.parents == [str(start)]
    assert [one["name"] for one in made.data] == ["guide", "text/fox"]


def test_a_start_of_another_kind_is_refused(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "bert", tiny_encoder())
    recipe = parse_recipe({**SMALL, "model": {"start": str(start)}, "steps": 1})
    with pytest.raises(UserError, match="objective causal cannot go on with"):
        Pretrain().rehearse(recipe, 1, tmp_path / ".cache")


def test_duplicates_and_text_of_evaluation_sets_are_not_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "the question of the exam that nobody may see before the day on which it is asked"
    texts = [f"article {n} about {' '.join(str(n * k) for k in range(3, 30))}" for n in range(40)]
    file = tmp_path / "mine.jsonl"
    lines = [*texts, texts[3], f"somebody wrote that {secret} and laughed"]
    file.write_text("".join(f'{{"text": "{line}"}}\n' for line in lines), "utf-8")
    monkeypatch.setattr(pretrain, "present_evaluation_texts", lambda _data: {"exam": iter([secret])})
    said: list[str] = []
    listen(lambda note: said.append(str(note)))

    def documents(filtered: bool) -> int:
        stage = Pretrain()
        options = {"vocab_size": 400, "filtered": filtered}
        raw = {**SMALL, "data": [{"name": str(file)}], "options": options, "steps": 1}
        stage.prepare(parse_recipe(raw), tmp_path / ".cache")
        return len(stage._train[0])

    assert documents(filtered=False) - documents(filtered=True) == 2
    assert any("Encoding" in one for one in said)


@pytest.fixture
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of tool calls with fewer rows."""
    known = PROGRAMS["programs/tool-calls"]
    fewer = replace(known, counts={"train": 120, "validation": 12, "test": 12})
    monkeypatch.setitem(cast(dict[str, Any], PROGRAMS), "programs/tool-calls", fewer)


@pytest.mark.usefixtures("few_calls")
def test_conversations_are_learnt_whole_with_their_marks_where_they_fit_a_row(tmp_path: Path) -> None:
    stage, length = Pretrain(), 600
    raw = {**SMALL, "data": [{"name": "guide"}, {"name": "programs/tool-calls"}], "length": length, "steps": 1}
    stage.prepare(parse_recipe(raw), tmp_path / ".cache")
    text, talks = stage._train
    tokenizer = load_tokenizer(stage._tokenizer_file)
    ids = talks.document(0).tolist()
    said = tokenizer.decode(ids, skip_special_tokens=False)
    assert said.startswith("<|endoftext|><|im_start|>system\n# Tools")
    assert tokenizer.token_to_id("<|im_start|>") in ids
    assert 0 < len(talks) < 120  # the longer ones are left out: with so small a vocabulary most are
    assert max(talks.length(n) for n in range(len(talks))) <= length
    assert len(text)


@pytest.mark.usefixtures("few_calls")
def test_a_recipe_of_conversations_alone_needs_a_tokenizer(tmp_path: Path) -> None:
    recipe = parse_recipe({**SMALL, "data": [{"name": "programs/tool-calls"}], "steps": 1})
    with pytest.raises(UserError, match="a tokenizer is made of raw text"):
        Pretrain().prepare(recipe, tmp_path / ".cache")
