"""Tokens to text as they come."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models

from dizuo.core.errors import UserError
from dizuo.inference.detokenize import TextStream, TokenBytes
from tests.inference.tiny import make_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def _streamed(table: TokenBytes, ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(table, stop)
    pieces = []
    for token in ids:
        pieces.append(stream.push(token)[0])
        if stream.stopped:
            return pieces
    return [*pieces, stream.finish()[0]]


def test_pieces_join_to_the_text_and_no_piece_has_half_a_character(tokenizer: Tokenizer) -> None:
    text = "naïve 人人生而自由 🙂 龘 end"
    pieces = _streamed(TokenBytes(tokenizer), tokenizer.encode(text).ids)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_any_tokens_give_the_text_that_the_tokenizer_decodes(tokenizer: Tokenizer) -> None:
    draw = random.Random(3)
    table = TokenBytes(tokenizer)
    for _ in range(50):
        ids = [draw.randrange(6, tokenizer.get_vocab_size()) for _ in range(30)]
        assert "".join(_streamed(table, ids)) == tokenizer.decode(ids)


def test_special_tokens_are_not_shown(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("a").ids, 2, *tokenizer.encode("b").ids]
    assert "".join(_streamed(TokenBytes(tokenizer), ids)) == "ab"


def test_nothing_of_a_stop_string_is_ever_shown(tokenizer: Tokenizer) -> None:
    text = "It was the best of times, it was the worst"
    ids = tokenizer.encode(text).ids
    table = TokenBytes(tokenizer)
    for begin in range(len(text)):
        for stop in (text[begin : begin + 1], text[begin : begin + 7]):
            at = text.index(stop)
            shown = ""
            for piece in _streamed(table, ids, ("never there", stop)):
                shown += piece
                assert text[:at].startswith(shown)
            assert shown == text[:at]


def test_what_only_began_like_a_stop_string_is_shown_in_the_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the best of").ids
    assert "".join(_streamed(TokenBytes(tokenizer), ids, ("of times",))) == "the best of"


def test_a_token_is_released_with_the_last_of_its_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("龘").ids  # three bytes, three tokens
    stream = TextStream(TokenBytes(tokenizer))
    assert [stream.push(token) for token in ids] == [("", 0), ("", 0), ("龘", 3)]


def test_sentencepiece_tokens_have_their_bytes() -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"▁a": 0, "<0xE4>": 1, "<0xBD>": 2, "<0xA0>": 3}, merges=[]))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    assert "".join(_streamed(TokenBytes(tokenizer), [0, 1, 2, 3])) == " a你"


def test_a_tokenizer_of_an_unknown_kind_is_refused() -> None:
    tokenizer = Tokenizer(models.WordPiece(vocab={"a": 0}, unk_token="a"))
    tokenizer.decoder = decoders.WordPiece()
    with pytest.raises(UserError, match="WordPiece"):
        TokenBytes(tokenizer)
