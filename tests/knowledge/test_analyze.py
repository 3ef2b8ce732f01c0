"""What becomes the same term, and so is found."""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dizuo.knowledge.analyze import query_terms, terms


def found(query: str, text: str) -> set[str]:
    """The terms of the query that the text holds."""
    whole, prefixes = query_terms(query)
    held = terms(text)
    return {term for term in whole if term in held} | {p for p in prefixes if any(t.startswith(p) for t in held)}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("ＡＩ １２３", "AI 123"),
        ("資訊檢索", "资讯检索"),
        ("头发", "頭髮"),
        ("发展", "發展"),
        ("看着", "看著"),
        ("乾坤", "乾坤"),
        ("Beyonce", "Beyoncé"),
        ("running", "he runs"),
        ("e-mail", "email"),
        ("email", "E-Mail"),
        ("the company's", "companies"),
        ("don’t", "don't"),
        ("12000", "12,000"),
        ("1,234.5", "1234.5"),
        ("max_file_mb", "maxFileMb"),
        ("MAX_FILE_MB", "max-file-mb"),
        ("iphones", "two iPhones"),
        ("mcdonald", "McDonald's"),
        ("maxfilesize", "max_file_size"),
        ("ﬁle", "file"),
        ("STRASSE", "Straße"),
    ],
)
def test_every_term_of_one_spelling_is_found_in_the_other(query: str, text: str) -> None:
    whole, prefixes = query_terms(query)
    assert found(query, text) >= set(whole) - {"e", "mail", "12", "000", "1", "234", "5"}
    assert found(query, text)
    assert not prefixes


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("file", "max_file_mb"),
        ("file", "maxFileMb"),
        ("server", "HTTPServer"),
        ("http", "HTTPServer"),
        ("iphone15", "iPhone15"),
        ("15", "iPhone15"),
        ("jane", "jane.doe@example.com"),
        ("example.com", "jane.doe@example.com"),
        ("jane.doe@example.com", "write to jane.doe@example.com."),
        ("3.11", "Python 3.11.2"),
        ("init", "__init__"),
        ("art", "state-of-the-art"),
        ("报销", "差旅费的报销制度"),
        ("销制", "差旅费的报销制度"),
        ("制", "差旅费的报销制度"),
        ("度", "差旅费的报销制度"),
        ("API", "调用API接口"),
        ("接口", "调用API接口"),
        ("カメラ", "新しいカメラ"),
        ("검색", "전문검색"),
    ],
)
def test_a_name_is_found_by_a_part_of_it(part: str, whole: str) -> None:
    assert found(part, whole)


def test_a_dotted_version_is_not_the_number_of_its_digits() -> None:
    assert "3112" not in terms("Python 3.11.2")
    assert not found("3112", "Python 3.11.2")


def test_chinese_is_cut_into_pairs_and_its_last_character() -> None:
    assert terms("报销制度，好") == ["报销", "销制", "制度", "度", "好"]
    assert query_terms("报销制度") == (["报销", "销制", "制度"], [])
    assert query_terms("销") == ([], ["销"])


def test_stopwords_are_left_out_of_a_query_that_has_other_words() -> None:
    assert query_terms("what is the capital of France")[0] == ["capit", "franc"]
    assert query_terms("What's the capital?")[0] == ["capit"]
    assert query_terms("to be or not to be")[0] != []
    assert query_terms("什么是 the")[0] == ["什么", "么是"]


def test_a_query_holds_each_term_once() -> None:
    assert query_terms("cats cat CAT 猫猫猫")[0] == ["cat", "猫猫"]


@pytest.mark.parametrize("text", ["", " \n", "?!…—", "🙂", "\x00\x01", "\ud800", "'''", "____", "@@@"])
def test_what_holds_no_word_has_no_terms(text: str) -> None:
    assert terms(text) == []
    assert query_terms(text) == ([], [])


@given(st.text(alphabet=st.characters() | st.sampled_from(string.punctuation + "报销A1"), max_size=60))
def test_a_term_holds_nothing_that_a_database_could_take_for_syntax(text: str) -> None:
    for term in terms(text):
        assert term == term.strip()
        assert not set(term) & set(string.punctuation + string.whitespace + "\x00")
        assert 0 < len(term) <= 200


@given(st.text(max_size=60))
def test_a_text_is_found_by_itself(text: str) -> None:
    whole, prefixes = query_terms(text)
    held = terms(text)
    assert set(whole) <= set(held)
    assert all(any(term.startswith(prefix) for term in held) for prefix in prefixes)


@pytest.mark.parametrize(
    "hostile", ["a-" * 50_000, "a'" * 50_000, "A" * 100_000, "aB" * 50_000, "中" * 100_000, "_" * 100_000]
)
def test_time_is_linear_in_the_length_of_a_hostile_text(hostile: str) -> None:
    start = time.process_time()
    terms(hostile)
    assert time.process_time() - start < 3
