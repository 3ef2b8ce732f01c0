"""Conversations are kept for whom they belong to. On SQLite and on PostgreSQL."""

import pytest

from dizuo.apps.threads import Threads
from dizuo.core.documents import Answer, Citation
from dizuo.core.errors import NotFound, UserError
from dizuo.platform.database import Database
from dizuo.platform.identity import Identity

CITATION = Citation(
    document="手册.md", document_id="doc_1", chunk="chk_1", quote="年假为二十五天。", page=None, start=3, end=11
)
ANSWER = Answer(answer="二十五天。[1]", found=True, citations=(CITATION,), model="local/extractive", seconds=0.2)


@pytest.fixture
def threads(database: Database) -> Threads:
    return Threads(database)


@pytest.fixture
def anna(database: Database) -> int:
    return Identity(database).create_user("anna").id


@pytest.fixture
def bo(database: Database) -> int:
    return Identity(database).create_user("bo").id


def said(threads: Threads, user_id: int, thread_id: str) -> list[str]:
    return [message.content for message in threads.messages(user_id, thread_id)]


def test_what_was_said_comes_back_in_order_with_the_answer_s_citations(threads: Threads, anna: int) -> None:
    thread = threads.create(anna, "kb", "年假")
    threads.append(anna, thread.id, "user", "年假有几天？")
    threads.append(anna, thread.id, "assistant", ANSWER.answer, ANSWER)
    question, answer = threads.messages(anna, thread.id)
    assert (question.role, question.content, question.answer) == ("user", "年假有几天？", None)
    assert answer.answer == ANSWER


def test_another_user_s_thread_is_not_found_whatever_is_asked_of_it(threads: Threads, anna: int, bo: int) -> None:
    thread = threads.create(anna, "kb", "private")
    for attempt in (
        lambda: threads.get(bo, thread.id),
        lambda: threads.messages(bo, thread.id),
        lambda: threads.append(bo, thread.id, "user", "let me in"),
        lambda: threads.rename(bo, thread.id, "mine"),
        lambda: threads.delete_last_answer(bo, thread.id),
        lambda: threads.delete(bo, thread.id),
    ):
        with pytest.raises(NotFound, match="no conversation"):
            attempt()
    assert threads.list(bo) == []
    assert threads.get(anna, thread.id) == thread


def test_the_thread_last_spoken_in_is_listed_first(threads: Threads, anna: int) -> None:
    first, second = threads.create(anna, "kb", "first"), threads.create(anna, "kb", "second")
    assert [thread.title for thread in threads.list(anna)] == ["second", "first"]
    threads.append(anna, first.id, "user", "again")
    assert [thread.title for thread in threads.list(anna)] == ["first", "second"]
    assert [thread.id for thread in threads.list(anna, limit=1)] == [first.id]
    assert second.updated_at < threads.get(anna, first.id).updated_at


def test_the_last_answer_is_taken_back_and_its_question_stays(threads: Threads, anna: int) -> None:
    thread = threads.create(anna, "kb", "t")
    for role, content in (
        ("user", "one"),
        ("assistant", "1"),
        ("user", "two"),
        ("assistant", "2a"),
        ("assistant", "2b"),
    ):
        threads.append(anna, thread.id, role, content)
    threads.delete_last_answer(anna, thread.id)
    assert said(threads, anna, thread.id) == ["one", "1", "two"]
    threads.delete_last_answer(anna, thread.id)
    assert said(threads, anna, thread.id) == ["one", "1", "two"]


def test_a_thread_is_renamed_and_a_title_that_says_nothing_refused(threads: Threads, anna: int) -> None:
    thread = threads.create(anna, "kb", "  spaced\n out ")
    assert thread.title == "spaced out"
    threads.rename(anna, thread.id, "另一个标题")
    assert threads.get(anna, thread.id).title == "另一个标题"
    with pytest.raises(UserError, match="title"):
        threads.rename(anna, thread.id, " \n\x00 ")


def test_a_deleted_thread_takes_its_messages_along_and_leaves_the_others(threads: Threads, anna: int) -> None:
    kept, gone = threads.create(anna, "kb", "kept"), threads.create(anna, "kb", "gone")
    for thread in (kept, gone):
        threads.append(anna, thread.id, "user", f"said in {thread.title}")
    threads.delete(anna, gone.id)
    with pytest.raises(NotFound):
        threads.messages(anna, gone.id)
    assert said(threads, anna, kept.id) == ["said in kept"]


def test_threads_go_with_their_user(threads: Threads, anna: int, database: Database) -> None:
    thread = threads.create(anna, "kb", "t")
    threads.append(anna, thread.id, "user", "hello")
    Identity(database).remove_user("anna")
    with pytest.raises(NotFound):
        threads.get(anna, thread.id)


def test_text_that_postgresql_cannot_keep_is_cleaned(threads: Threads, anna: int) -> None:
    thread = threads.create(anna, "kb", "t")
    threads.append(anna, thread.id, "user", "a\0b")
    assert said(threads, anna, thread.id) == ["ab"]
