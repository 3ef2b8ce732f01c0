"""The stage that trains readers."""

import random
from pathlib import Path

import pytest

from dizuo.core.errors import UserError
from dizuo.data.programs import program_rows
from dizuo.data.reading import split_passages
from dizuo.evals.answering import halves
from dizuo.evals.sets import Collection
from dizuo.inference.reader import Reader
from dizuo.nn.heads import SpanReader
from dizuo.nn.tokenizer import tokenizer_of
from dizuo.train.spans import collate, windows
from tests.tiny_models import minilm_folder, save_bert, tiny_encoder
from tests.train.tuning import run, write_rows

ROW = {
    "question": "Who painted it?",
    "passage": "The gate is old. It was painted by Anna Berg in 1912. " * 12,
    "answers": [{"text": "Anna Berg", "answer_start": 35}],
}


def test_targets_are_the_tokens_of_the_answer_and_windows_without_it_point_at_the_first_mark() -> None:
    tokenizer = tokenizer_of(minilm_folder())
    whole, *others = windows([ROW], tokenizer, 96)
    at, to = whole.offsets[whole.start][0], whole.offsets[whole.end][1]
    assert ROW["passage"][at:to] == "Anna Berg"
    assert others
    assert all((one.start, one.end) == (0, 0) for one in others)


def test_windows_overlap_and_miss_nothing_of_the_passage() -> None:
    found = windows([ROW], tokenizer_of(minilm_folder()), 96)
    seen = {character for one in found for at, to in one.offsets for character in range(at, to)}
    assert {n for n, character in enumerate(ROW["passage"]) if not character.isspace()} <= seen
    assert max(len(one.ids) for one in found) <= 96


def test_a_batch_is_filled_up_and_masked() -> None:
    short = {**ROW, "passage": "Anna Berg painted it.", "answers": [{"text": "Anna Berg", "answer_start": 0}]}
    batch = collate(windows([ROW, short], tokenizer_of(minilm_folder()), 96))
    assert batch.ids.shape == batch.mask.shape == batch.segments.shape
    assert not batch.ids[~batch.mask].any()
    assert batch.segments.max() == 1


def test_a_reader_learns_to_point_at_answers_and_its_folder_is_read_by_the_engine(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "bert", tiny_encoder())
    chance = random.Random(0)
    names = ["anna", "peter", "mina", "jonas", "lucy"]
    rows = []
    for _ in range(120):
        name, other = chance.sample(names, 2)
        passage = f"The {chance.choice(['red', 'blue'])} door was painted by {name} and sold by {other}."
        rows.append({"question": "Who painted it?", "passage": passage,
                     "answers": [{"text": name, "answer_start": passage.index(name)}]})  # fmt: skip
    data = write_rows(tmp_path / "rows.jsonl", rows)
    options = {"freeze_embeddings": False}
    raw = {"stage": "read", "model": {"start": str(start)}, "data": [{"name": data}], "length": 48, "options": options}
    lines = run(tmp_path / "run", raw, 60)
    assert lines[-1]["val_loss"] < 0.3 * lines[0]["loss"]
    (answer,) = Reader(tmp_path / "run" / "model").read(
        "Who painted it?", ["The red door was painted by lucy, I hear."]
    )
    assert answer.text == "lucy"


def test_a_reader_learns_characters_that_its_tokenizer_lacked(tmp_path: Path) -> None:
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    start = save_bert(tmp_path / "bert", tiny_encoder())
    chance = random.Random(0)
    rows = []
    for _ in range(120):
        name, other = chance.sample(["张薇", "刘琦", "陈曦", "赵磊"], 2)
        passage = f"{chance.choice('红蓝')}门由{name}油漆，由{other}卖掉。"
        rows.append({"question": "谁油漆的？", "passage": passage,
                     "answers": [{"text": name, "answer_start": passage.index(name)}]})  # fmt: skip
    data = write_rows(tmp_path / "rows.jsonl", rows)
    options = {"freeze_embeddings": False, "characters": 40}
    raw = {"stage": "read", "model": {"start": str(start)}, "data": [{"name": data}], "length": 48, "options": options}
    run(tmp_path / "run", raw, 60)
    made = tmp_path / "run" / "model"
    (answer,) = Reader(made).read("谁油漆的？", ["红门由陈曦油漆，我听说。"])
    assert answer.text == "陈曦"
    theirs = AutoTokenizer.from_pretrained(made)
    assert theirs.unk_token_id not in theirs("谁油漆的？", "红门由陈曦油漆")["input_ids"]
    model = AutoModelForQuestionAnswering.from_pretrained(made)
    assert model.config.vocab_size == len(theirs) > tokenizer_of(start).get_vocab_size()


def test_a_reader_can_go_on_from_a_reader(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "reader", SpanReader(tiny_encoder()))
    data = write_rows(tmp_path / "rows.jsonl", [ROW] * 20)
    raw = {"stage": "read", "model": {"start": str(start)}, "data": [{"name": data}], "length": 64}
    run(tmp_path / "run", raw, 1)


def test_a_reader_without_a_start_is_refused() -> None:
    from dizuo.train.read import Read
    from dizuo.train.recipe import parse_recipe

    recipe = parse_recipe({"stage": "read", "data": [{"name": "squad_v2_en"}], "steps": 1})
    with pytest.raises(UserError, match=r"model\.start"):
        Read().prepare(recipe, Path("unused"))


def test_the_splits_are_those_that_answers_are_measured_on() -> None:
    ids = [f"p{n}" for n in range(101)]
    collection = Collection("en", dict.fromkeys(ids, ""), {}, [])
    fitting, measuring = halves(collection)
    found = split_passages(ids)
    assert found["train"] | found["validation"] == fitting
    assert found["test"] == measuring
    assert not found["train"] & found["validation"]
    assert found["fold-0"] | found["fold-1"] == fitting
    assert not found["fold-0"] & found["fold-1"]


def test_a_program_for_readers_says_where_each_answer_stands() -> None:
    for row in program_rows("programs/sheets-en", "validation", None):
        for answer in row["answers"]:
            at = answer["answer_start"]
            assert row["passage"][at : at + len(answer["text"])] == answer["text"]
