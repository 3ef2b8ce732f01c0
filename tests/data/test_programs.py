"""The programs that make training rows."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from dizuo.core.documents import Hit
from dizuo.core.errors import UserError
from dizuo.data.overlap import Overlap
from dizuo.data.programs import (
    PROGRAMS,
    chat,
    composed,
    elsewhere,
    grounded,
    program_rows,
    questions,
    reading,
    recall,
    sheets,
    tools,
)
from dizuo.knowledge import prompt

OWN = ("programs/tool-calls", "programs/composed-calls", "programs/sheets-en", "programs/sheets-zh")
ARTICLE = {
    "id": "enwiki:1",
    "text": "Anna Berg\n\nAnna Berg (born 1912) was a painter. She was born in Oslo on 4 May 1912. The Blue Gate was "
    "painted by Anna Berg in 1931. She moved to Bergen in 1940 and founded the Harbour School. The Harbour School had "
    "300 pupils. In 1952 the Harbour School was closed by the city.\n\n## Later years\n\nHer brother Jonas Berg lived "
    "in Lima. Jonas Berg wrote three books about the city of Lima, and he was elected to its council in 1960. "
    "He died in 1971.",
}
ARTICLE_ZH = {
    "id": "zhwiki:1",
    "text": "青松小学\n\n青松小学是一所位于苏州的小学。该校成立于1952年，由李明创办，1998年共有学生1200人。"
    "学校隶属于苏州市教育局。2004年5月6日，新校区启用。该校曾出版校刊《松风》，每月一期。\n\n## 历史\n\n"
    "1960年，该校迁往城东，当时有教室24个。1975年恢复旧名，次年增设音乐科，并由王强担任校长，直到1983年退休为止。",
}


@pytest.mark.parametrize("name", OWN)
def test_rows_are_the_same_each_time_and_differ_between_splits(name: str) -> None:
    first, again, test = (list(islice(program_rows(name, s, None), 50)) for s in ("train", "train", "test"))
    assert first == again
    assert {json.dumps(one, sort_keys=True) for one in first}.isdisjoint(
        json.dumps(one, sort_keys=True) for one in test
    )


def test_thousands_of_conversations_about_tools_are_hardly_ever_alike() -> None:
    rows = list(islice(program_rows("programs/tool-calls", "train", None), 4000))
    assert len({json.dumps(row["messages"][:-1]) for row in rows}) > 3800
    assert sum(row["lang"] == "zh" for row in rows) == 2000


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("made", [tools.rows, composed.rows], ids=["listed", "composed"])
def test_a_call_fits_its_tools_signature(made: Callable[[str, int], Iterator[Any]], split: str) -> None:
    for row in islice(made(split, 3), 600):
        signatures = {one["function"]["name"]: one["function"]["parameters"] for one in row["tools"]}
        for message in row["messages"]:
            for call in message.get("tool_calls", ()):
                schema = signatures[call["function"]["name"]]
                arguments = call["function"]["arguments"]
                assert set(schema["required"]) <= set(arguments) <= set(schema["properties"])
                for name, value in arguments.items():
                    described = schema["properties"][name]
                    kinds = {"string": str, "integer": int, "number": (int, float)}
                    assert isinstance(value, kinds[described["type"]])
                    assert value in described.get("enum", [value])


def test_an_argument_stands_in_what_the_user_said() -> None:
    free = re.compile(r"\d{4}-\d\d(?:-\d\d)?|\d\d:\d\d")  # dates and times are said in many ways
    for row in islice(tools.rows("train", 4), 600):
        said = " ".join(message["content"] for message in row["messages"] if message["role"] == "user").lower()
        listed = json.dumps(row["tools"])
        for value in (row["call"] or {"arguments": {}})["arguments"].values():
            text = str(value)
            assert free.fullmatch(text) or text.lower() in said or f'"{text}"' in listed


def test_tools_of_the_test_split_are_never_trained_on() -> None:
    def described(split: str) -> set[str]:
        rows = islice(tools.rows(split, 5), 1500)
        return {one["function"]["description"] for row in rows for one in row["tools"]}

    assert described("test")
    assert described("test").isdisjoint(described("train"))


def test_questions_back_and_no_tool_come_often_enough_to_be_learnt() -> None:
    rows = list(islice(tools.rows("train", 6), 1000))
    without = [row for row in rows if row["call"] is None]
    asked_back = [row for row in rows if len(row["messages"]) > 2 and row["messages"][1].get("tool_calls") is None]
    assert 0.08 < len(without) / len(rows) < 0.3
    assert 0.05 < len(asked_back) / len(rows) < 0.25


def test_answers_of_made_up_documents_are_quoted_and_silent_ones_hold_no_answer() -> None:
    rows = list(islice(sheets.rows("train", 2), 400))
    for row in rows:
        for answer in row["answers"]:
            at = answer["answer_start"]
            assert row["passage"][at : at + len(answer["text"])] == answer["text"]
            assert row["sentence"] in row["passage"]
    assert 0.1 < sum(row["is_impossible"] for row in rows) / len(rows) < 0.4


def article_rows(document: dict[str, Any], language: str, **more: Any) -> list[dict[str, Any]]:
    options = {"natural": False, "per_passage": 20, "silent": 0.0} | more
    return list(reading.rows(reading.paragraphs([document], language), language, 1, **options))


@pytest.mark.parametrize(("document", "language"), [(ARTICLE, "en"), (ARTICLE_ZH, "zh")])
def test_answers_about_articles_stand_where_the_row_says(document: dict[str, Any], language: str) -> None:
    found = article_rows(document, language)
    assert len(found) >= 6
    for row in found:
        for answer in row["answers"]:
            at = answer["answer_start"]
            assert row["passage"][at : at + len(answer["text"])] == answer["text"]


def test_a_masked_sentence_is_not_in_the_passage_that_it_is_asked_of() -> None:
    masked = [row for row in article_rows(ARTICLE, "en") if reading.MASK in row["question"]]
    assert masked
    for row in masked:
        for answer in row["answers"]:
            assert row["question"].replace(reading.MASK, answer["text"]) not in row["passage"]


def test_recurring_spans_are_maximal_and_no_stopwords() -> None:
    text = "The Harbour School was old. In the spring the Harbour School closed. It was the end, and the end was near."
    spans = reading.recurring_spans(text, "en")
    assert "Harbour School" in spans
    assert "Harbour" not in spans
    assert "the" not in spans


def test_a_silent_row_asks_for_what_its_passage_lacks() -> None:
    answered = {row["question"]: row["answers"][0]["text"] for row in article_rows(ARTICLE, "en")}
    silent = [row for row in article_rows(ARTICLE, "en", silent=1.0) if row["question"] in answered]
    assert silent
    for row in silent:
        assert row["is_impossible"]
        assert answered[row["question"]].lower() not in row["passage"].lower()


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("青松小学成立于1952年，位于苏州。", "青松小学成立于哪一年？"),
        ("该校由李明创办，后来停办。", "青松小学由谁创办？"),
    ],
)
def test_chinese_asks_where_the_answer_stands(sentence: str, question: str) -> None:
    asked = {one.question for seed in range(12) for one in questions.chinese(sentence, "青松小学", random.Random(seed))}
    assert question in asked


def test_english_brings_the_question_word_to_the_front() -> None:
    sentence = "The Harbour School was closed by the city in 1952."
    asked = {
        one.question
        for seed in range(12)
        for one in questions.english(sentence, "Harbour School", random.Random(seed), natural=True)
    }
    assert asked & {
        "When was the Harbour School closed by the city?",
        "In what year was the Harbour School closed by the city?",
    }


def test_the_prompt_for_passages_is_the_one_that_dizuo_ask_writes() -> None:
    row = next(row for row in sheets.rows("train", 1) if row["answers"])
    made = grounded.product(row, [], random.Random(0))["messages"]
    boundary = re.search(r"--- (\w+) passage", made[1]["content"])
    assert boundary is not None
    hit = Hit(
        document=row["title"], document_id="1", chunk="1", legs={}, heading="", text=row["passage"], start=0,
        end=len(row["passage"]), page=None, score=1.0,
    )  # fmt: skip
    asked, _shown = prompt.messages(row["question"], [hit], [], boundary=boundary[1])
    assert [one.content for one in asked] == [one["content"] for one in made[:2]]
    assert made[2]["content"] == f"{row['sentence']} [1]"


def test_silent_rows_are_refused_in_the_language_of_the_question() -> None:
    for row in islice(sheets.rows("train", 8), 60):
        said = grounded.short([row], random.Random(0))["messages"][1]["content"]
        assert said == (row["answers"][0]["text"] if row["answers"] else grounded.SILENT[row["lang"]])


def test_small_jobs_have_the_result_that_they_ask_for() -> None:
    for seed in range(200):
        for language in ("en", "zh"):
            asked, said = (turn["content"] for turn in chat.job(language, random.Random(seed))["messages"])
            if "JSON" in asked:
                json.loads(said)
            if "How many" in asked:
                assert int(said) == asked.count(",") + 1


def test_the_assistant_says_what_it_is() -> None:
    said = " ".join(
        turn["content"] for seed in range(80) for turn in chat.talk("zh", random.Random(seed))["messages"]
    )  # fmt: skip
    assert "底座" in said
    assert "小模型" in said


def test_an_unknown_program_or_split_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match="programs/tool-calls"):
        next(program_rows("programs/none", "train", None))
    with pytest.raises(UserError, match="'dev'"):
        next(program_rows("programs/tool-calls", "dev", None))


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [name for name in PROGRAMS if name not in OWN and not re.search("reading|asked|elsewhere", name)],
)
def test_rows_share_no_run_of_words_with_the_sets_that_are_scored(name: str) -> None:
    from tests.conftest import data_file, data_rows

    known = {
        "squad_v2_en": (row["text"] for row in data_rows("squad_v2_en", "passages.jsonl.gz")),
        "cmrc2018_zh": (row["text"] for row in data_rows("cmrc2018_zh", "passages.jsonl.gz")),
        "api_bank": (turn["text"] for row in data_rows("api_bank", "level_1_given_desc.jsonl.gz")
                     for turn in row["turns"] if "text" in turn),
    }  # fmt: skip
    overlap = Overlap(known)
    rows = islice(program_rows(name, "train", data_file(".")), 400)
    assert not any(overlap.hits("\n".join(turn["content"] for turn in row["messages"])) for row in rows)


def test_composed_tools_are_many_and_those_of_the_test_split_are_never_trained_on() -> None:
    names = {
        split: {
            row["call"]["name"].lower().replace("_", "") for row in islice(composed.rows(split, 3), 3000) if row["call"]
        }
        for split in ("train", "test")
    }
    assert len(names["train"]) > 150
    assert names["train"].isdisjoint(names["test"])


def test_made_up_tools_hardly_ever_come_twice_and_the_right_one_can_be_read() -> None:
    def passages(language: str) -> Iterator[reading.Paragraph]:
        chance = random.Random(language)
        letters = "abcdefghijklmnopqrstuvwxyz" if language == "en" else "山水木火土金日月天地人心手足耳目"
        while True:
            words = ["".join(chance.choices(letters, k=6)) for _word in range(40)]
            yield reading.Paragraph("a", "b", (" " if language == "en" else "，").join(words))

    rows = list(islice(composed.open_rows({one: passages(one) for one in ("en", "zh")}, "train", 3), 400))
    named = [row["call"]["name"] for row in rows if row["call"]]
    assert len(named) > 300
    assert len(set(named)) == len(named)
    for row in rows:
        offered = [one["function"] for one in row["tools"]]
        assert len({one["name"] for one in offered}) == len(offered)
        if row["call"]:
            (used,) = [one for one in offered if one["name"] == row["call"]["name"]]
            assert set(row["call"]["arguments"]) == set(used["parameters"]["properties"])


@pytest.mark.data
def test_a_program_makes_the_same_rows_in_every_process() -> None:
    from tests.conftest import data_file

    asked = (
        "import json,sys;from pathlib import Path;from itertools import islice;from dizuo.data.programs import *;"
        "[print(json.dumps(r)) for n in PROGRAMS for r in islice(program_rows(n,'validation',Path(sys.argv[1])),60)]"
    )
    made = [
        subprocess.run(
            [sys.executable, "-c", asked, str(data_file("."))],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert made[0].count(b"\n") >= 60 * 8
    assert made[0] == made[1]


@pytest.mark.parametrize(("document", "language"), [(ARTICLE, "en"), (ARTICLE_ZH, "zh")])
def test_what_is_to_be_recalled_stands_in_the_conversation(document: dict[str, Any], language: str) -> None:
    passage = next(reading.paragraphs([document], language))[0]
    for kind in (recall.table, recall.sentence, recall.repeat):
        row = kind(passage, language, random.Random(3))
        assert row is not None
        asked = row["messages"][0]["content"]
        said = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
        assert said
        assert all(one in asked for one in said)


@pytest.mark.data
def test_peoples_questions_are_those_of_the_passages_that_no_score_is_taken_on() -> None:
    from tests.conftest import data_file

    asked = {
        split: {row["messages"][0]["content"] for row in program_rows("programs/asked", split, data_file("."))}
        for split in ("train", "test")
    }
    assert len(asked["train"]) > 1000
    assert asked["train"].isdisjoint(asked["test"])


def test_a_question_is_asked_of_the_passages_that_are_most_like_its_own_and_do_not_answer() -> None:
    def row(name: str, passage: str, question: str, answer: str) -> dict[str, Any]:
        answers = [{"text": answer, "answer_start": passage.index(answer)}] if answer else []
        return {"id": name, "lang": "en", "passage": passage, "question": question, "answers": answers}

    gate = "The gate of the harbour was painted by Anna Berg."
    asked = [
        row("a", gate, "Who painted the gate of the harbour?", "Anna Berg"),
        row("b", "The harbour has a gate that opens at eight.", "When does the gate open?", "eight"),
        row("c", "Anna Berg repaired the gate of the harbour.", "Who broke the gate?", ""),
        row("d", "Bees make honey in spring.", "What do bees make?", "honey"),
    ]
    found = list(elsewhere.rows(asked, 2))
    assert [(one["id"], one["passage"][:11]) for one in found[:2]] == [("a:0", "The harbour"), ("a:1", "Bees make h")]
    assert not any(one["answers"] for one in found)
    assert {one["id"][0] for one in found} == {"a", "b", "d"}, "what has no answer is no question to move"
