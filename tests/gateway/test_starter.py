"""`local/starter`, the small decoder that ships: what it weighs, what is told of it, and that it does what it can."""

import json
from collections.abc import Iterator

import pytest

from dizuo.core.protocols import context_tokens
from dizuo.data.programs.grounded import asked
from dizuo.gateway.local_folders import SHIPPED
from dizuo.gateway.models import Models
from dizuo.gateway.routes import Target
from dizuo.inference.engine import TextEngine
from dizuo.inference.sampling import SamplingOptions
from dizuo.wiring import House

FOLDER = SHIPPED / "starter"


@pytest.fixture(scope="module")
def engine() -> Iterator[TextEngine]:
    opened = TextEngine(FOLDER)
    yield opened
    opened.close()


def said(engine: TextEngine, question: str, **options: int) -> str:
    prompt = engine.apply_chat_template([{"role": "user", "content": question}])
    return engine.generate(prompt, SamplingOptions(temperature=0, max_tokens=60, **options)).wait().text


def test_it_is_small_and_its_card_says_what_made_it_and_what_it_reaches() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 10 << 20
    card = (FOLDER / "README.md").read_text("utf-8")
    for expected in ("cc-by-sa", "untrained", "calls BFCL / exact", "reading cmrc2018_zh / f1", "text/zh-wikipedia",
                     "library_name: dizuo", "SQuAD", "bits per byte", "Code: commit"):  # fmt: skip
        assert expected in card
    about = json.loads((FOLDER / "dizuo.json").read_text("utf-8"))
    assert all((one.get("licence") and one.get("sha256")) or one.get("files") for one in about["data"])


def test_it_is_labelled_for_what_it_is() -> None:
    models = Models()
    assert models.is_small("local/starter")
    note = str(models.get("local/starter").note)
    assert "It is a small model: what it writes is often wrong." in note
    assert "calls of tools (BFCL)" in note


def test_whoever_holds_it_knows_how_much_it_reads(house: House) -> None:
    house.gateway.routes.add("small", [Target(model="local/starter")])
    assert context_tokens(house.gateway.current("local/starter")) == 1024
    assert context_tokens(house.gateway.current("small")) == 1024


def test_it_says_what_it_is_in_both_languages(engine: TextEngine) -> None:
    assert "starter" in said(engine, "Who are you?")
    assert "入门模型" in said(engine, "你是谁？")


@pytest.mark.parametrize(
    ("language", "question", "answer"),
    [
        ("zh", "红石图书馆由谁创办？", "陈光"),
        ("zh", "红石图书馆位于哪里？", "苏州市"),
        ("zh", "红石图书馆哪一年创办？", "1957年"),
        ("en", "Who founded the Red Stone Library?", "Anna Moore"),
    ],
)
def test_it_finds_what_stands_in_a_plain_passage(engine: TextEngine, language: str, question: str, answer: str) -> None:
    passage = {
        "en": "The Red Stone Library stands in Leeds. It was founded by Anna Moore in 1957 and holds 20,000 books.",
        "zh": "红石图书馆位于苏州市，由陈光于1957年创办，馆内藏书二十万册。",
    }[language]
    assert said(engine, asked(passage, question, language)) == answer


def test_it_looks_up_and_repeats(engine: TextEngine) -> None:
    assert said(engine, "Alder: 17\nBirch: 23\nCedar: 31\nElm: 45\n\nCedar?") == "31"
    assert said(engine, "Repeat: the quick red fox") == "the quick red fox"


def test_it_predicts_text_better_than_one_that_was_never_trained(engine: TextEngine) -> None:
    from dizuo.evals.starter import bits_per_byte

    assert bits_per_byte(engine, ["The river flows through the city and into the sea. 这座城市位于中国南部。"]) < 3
