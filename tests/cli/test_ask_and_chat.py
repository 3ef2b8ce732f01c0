"""`dizuo ask`, `dizuo chat` and `dizuo thread …`."""

from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_ask_prints_the_promised_json(reader: Command) -> None:
    answer = reader("ask", "How many days of paid leave do employees have?", "--knowledge", "handbook", "--json").json
    assert answer.keys() == {"answer", "found", "citations", "model", "seconds"}
    assert answer["found"] is True
    [citation] = answer["citations"]
    assert citation.keys() >= {"document", "chunk", "quote", "page", "start", "end"}
    assert "25 days" in citation["quote"]


def test_ask_shows_numbered_citations(reader: Command) -> None:
    ran = reader("ask", "差旅费应在多久之内报销？", "-k", "handbook")
    assert "三十日内" in ran.out
    assert "[1] 报销.md" in ran.out
    assert "local/extractive" in ran.err


def test_ask_names_the_words_that_answer(reader: Command) -> None:
    question = "How many days of paid leave do employees have?"
    assert "    → 25" in reader("ask", question, "-k", "handbook").out
    [citation] = reader("ask", question, "-k", "handbook", "--json").json["citations"]
    at = citation["exact"]["start"] - citation["start"]
    assert citation["quote"][at:].startswith(citation["exact"]["text"])


def test_not_found_is_an_answer_and_not_a_failure(reader: Command) -> None:
    answer = reader("ask", "Who won the chess championship in 1972?", "--json")
    assert answer.status == 0
    assert answer.json["found"] is False
    assert answer.json["citations"] == []


def test_a_model_that_is_not_there_is_said_and_nothing_is_quoted_instead(
    reader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIZUO_MODEL", "ollama/qwen")
    monkeypatch.setenv("DIZUO_MODEL_BASE_URL", "http://127.0.0.1:9/v1")
    ran = reader("ask", "How many days of paid leave do employees have?")
    assert (ran.status, ran.out) == (1, "")
    assert "127.0.0.1:9 cannot be reached for ollama/qwen" in ran.err


def test_without_a_name_the_only_knowledge_base_is_asked_and_several_are_listed(
    dizuo: Command, reader: Command
) -> None:
    assert reader("ask", "How many days of paid leave do employees have?").status == 0
    assert "dizuo knowledge add" in dizuo("ask", "Anything?").err


def test_chat_keeps_a_thread_that_can_be_continued_shown_and_removed(reader: Command) -> None:
    said = reader("chat", "--json", stdin="How many days of paid leave do employees have?\n\n/quit\n").json
    assert [message["role"] for message in said["messages"]] == ["user", "assistant"]
    thread = said["thread"]
    more = reader("chat", "--thread", thread, stdin="差旅费应在多久之内报销？\n/sources\n/nonsense\n")
    assert "三十日内" in more.out
    assert "/nonsense" in more.err
    assert thread in [row["id"] for row in reader("thread", "list", "--json").json["threads"]]
    assert len(reader("thread", "show", thread, "--json").json["messages"]) == 4
    assert "> 差旅费" in reader("thread", "show", thread).out
    assert reader("thread", "remove", thread, "--json").json["removed"]["id"] == thread
    assert reader("thread", "show", thread).status == 1


def test_the_last_question_is_answered_anew_and_a_thread_renamed(reader: Command) -> None:
    first = reader("chat", "--json", stdin="/again\nHow many days of paid leave do employees have?\n").json
    thread = first["thread"]
    question, answer = reader("chat", "--thread", thread, "--json", stdin="/again\n").json["messages"]
    assert question == first["messages"][0]
    assert answer["content"] == first["messages"][1]["content"]
    assert answer["created_at"] > first["messages"][1]["created_at"]
    assert reader("thread", "rename", thread, " Paid  leave ", "--json").json["title"] == "Paid leave"
    assert reader("thread", "rename", thread, " ").status == 1
    reader("thread", "remove", thread)


def test_chat_refuses_another_knowledge_base_than_its_threads(reader: Command) -> None:
    thread = reader("chat", "--json", stdin="How many days of paid leave?\n").json["thread"]
    assert reader("chat", "--thread", thread, "--knowledge", "other").status == 1
    reader("thread", "remove", thread)


def test_looking_in_leaves_no_thread_behind(reader: Command) -> None:
    before = reader("thread", "list", "--json").json
    assert reader("chat", stdin="/help\n/threads\n/new\n").status == 0
    assert reader("thread", "list", "--json").json == before
