import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dizuo.core.errors import UserError
from dizuo.data.tokenizer import SPECIALS, balanced, train_tokenizer, with_characters
from dizuo.data.tokenizer_report import GPT2_BYTES_PER_TOKEN, fit, table
from dizuo.nn.chat import without_added_tokens
from dizuo.nn.tokenizer import load_tokenizer
from tests.data.conftest import CHINESE, CODE, ENGLISH
from tests.tiny_models import minilm_folder

# What text is made of in practice, and the marks that must not be believed.
_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from([*SPECIALS[:9], " ", "\n", "中文", "word", "12", "é", "👩‍👩‍👧", "\x00"])).map("".join),
)
_PLAIN = without_added_tokens(train_tokenizer([ENGLISH * 5, CHINESE * 5, CODE * 5], 400))


def _ids(text: str) -> list[int]:
    return _PLAIN.encode(text, add_special_tokens=False).ids


@given(_TEXTS)
@settings(max_examples=200, deadline=None)
def test_decoding_gives_back_every_text(text: str) -> None:
    assert _PLAIN.decode(_ids(text), skip_special_tokens=False) == text


@given(_TEXTS)
@settings(max_examples=200, deadline=None)
def test_text_never_becomes_a_special_token(text: str) -> None:
    assert all(number >= len(SPECIALS) for number in _ids(text))


def test_special_tokens_have_the_first_numbers_in_their_order(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIALS] == list(range(64))
    assert tokenizer.get_vocab_size() == 400


def test_tool_call_marks_survive_decoding_that_skips_special_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<|im_start|><tool_call>x</tool_call><|im_end|>").ids
    assert tokenizer.decode(ids) == "<tool_call>x</tool_call>"


def test_the_same_text_gives_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert train_tokenizer([ENGLISH * 5, CHINESE * 5, CODE * 5], 400).to_str() == tokenizer.to_str()


def test_digits_stand_alone_and_chinese_is_never_joined_to_its_marks() -> None:
    trained = train_tokenizer(["在2024年，房子立在底座上。" * 50], 420)
    tokens = [trained.decode([i]) for i in trained.encode("在2024年，房子").ids]
    assert tokens[:6] == ["在", "2", "0", "2", "4", "年"]
    assert "，" in tokens


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match="vocabulary of 300 has no room for the 320 bytes"):
        train_tokenizer(["text"], 300)


def test_a_missing_or_broken_tokenizer_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer at"):
        load_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is no tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_each_stream_gives_its_share_of_the_sample() -> None:
    sample = list(balanced([iter(["aaaa"] * 100), iter(["中中"] * 100)], 48))
    assert (sample.count("aaaa"), sample.count("中中")) == (6, 4)  # 24 bytes each


def test_the_report_counts_bytes_per_token_and_what_is_never_used(tokenizer: Tokenizer) -> None:
    measured = fit(tokenizer, {("text/en-books", "English"): [ENGLISH] * 10, ("mine", "Chinese"): [CHINESE]})
    english, chinese = measured.sets
    assert english.text_bytes == 10 * len(ENGLISH)
    assert chinese.characters == len(CHINESE)
    assert english.tokens == 10 * len(tokenizer.encode(ENGLISH).ids)
    assert english.gpt2_bytes_per_token == GPT2_BYTES_PER_TOKEN["text/en-books"]
    assert measured.entries == 400 - 64
    assert 0 < measured.used < measured.entries
    assert measured.never
    assert len(measured.longest[0].encode()) <= 24
    assert "| text/en-books |" in table(measured)


@pytest.mark.parametrize("text", ["<|im_end|>", "<|endoftext|>", "<tool_call>"])
def test_a_saved_tokenizer_opens_elsewhere_with_its_marks(tokenizer_file: Path, text: str) -> None:
    described = json.loads(tokenizer_file.read_text("utf-8"))
    assert text in [token["content"] for token in described["added_tokens"]]
    assert len(load_tokenizer(tokenizer_file).encode(text).ids) == 1


def test_characters_that_a_wordpiece_lacks_are_added_behind_those_it_knew() -> None:
    known = load_tokenizer(minilm_folder() / "tokenizer.json")
    known.no_padding()
    text = "保修期为二十四个月，保修。 The warranty lasts 24 months."
    more = with_characters(known, [text], 2)
    assert known.get_vocab().items() <= more.get_vocab().items()
    assert more.get_vocab_size() == known.get_vocab_size() + 2
    assert [more.id_to_token(known.get_vocab_size() + n) for n in range(2)] == ["修", "个"], "the most frequent first"
    assert "[UNK]" not in with_characters(known, [text], 100).encode(text).tokens
    assert more.encode("warranty lasts").ids == known.encode("warranty lasts").ids


def test_characters_are_added_to_no_other_kind_of_tokenizer(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="WordPiece"):
        with_characters(tokenizer, ["保修"], 10)
