import random

from dizuo.data.dedup import Duplicates
from dizuo.data.ngrams import ngrams, word_hashes

_WORDS = [f"word{n}" for n in range(500)]


def _text(seed: int, length: int = 200) -> str:
    return " ".join(random.Random(seed).choices(_WORDS, k=length))


def _with_changes(text: str, share: float) -> str:
    """The text with its end replaced: so many of its five-word runs are others then."""
    words = text.split()
    kept = round(len(words) * (1 - share))
    return " ".join(words[:kept] + [f"other{n}" for n in range(len(words) - kept)])


def test_case_marks_width_and_spaces_do_not_make_a_text_new() -> None:
    seen = Duplicates()
    assert seen.add("The House, stands on a base！ 底座") is None
    assert seen.add("the house stands\n\non a BASE. 底 座") == "exact"


def test_a_text_that_differs_in_a_few_words_is_a_near_duplicate() -> None:
    seen = Duplicates()
    assert seen.add(_text(1)) is None
    assert seen.add(_with_changes(_text(1), 0.05)) == "near"
    assert (seen.exact, seen.near) == (0, 1)


def test_chinese_texts_that_differ_in_a_few_characters_are_near_duplicates() -> None:
    characters = "".join(random.Random(2).choices("底座房子立在上面的一切托住天地玄黄宇宙洪荒日月盈昃", k=300))
    seen = Duplicates()
    seen.add(characters)
    assert seen.add(characters[:-8] + "完全不同的结尾句") == "near"


def test_texts_that_share_half_or_nothing_are_kept() -> None:
    seen = Duplicates()
    texts = [_text(1), _with_changes(_text(1), 0.5), *(_text(n) for n in range(2, 60))]
    assert list(seen.without(texts)) == texts


def test_texts_that_share_two_thirds_are_kept_though_their_bands_meet() -> None:
    """Jaccard 0.65: two of five such pairs meet in a band, and the estimate then tells them apart."""
    texts = [text for n in range(40) for text in (_text(n), _with_changes(_text(n), 0.21))]
    assert list(Duplicates().without(texts)) == texts


def test_nearly_all_of_many_near_duplicates_are_found() -> None:
    """Jaccard 0.9: the bands meet with 0.9998, the estimate is 0.8 or more with 0.999."""
    seen = Duplicates()
    for n in range(60):
        seen.add(_text(n))
        seen.add(_with_changes(_text(n), 0.05))
    assert seen.near >= 58


def test_short_and_wordless_texts_are_compared_as_they_are() -> None:
    assert list(Duplicates().without(["one two", "!!!", "???", "one two", "!!!"])) == ["one two", "!!!", "???"]


def test_hashes_are_the_same_in_every_process() -> None:
    """Known answers: a signature that is compared with one made elsewhere must not depend on PYTHONHASHSEED."""
    assert ngrams(word_hashes("a b c d e"), 5).tolist() == [_A_TO_E]
    assert len(ngrams(word_hashes("a b c"), 5)) == 0


_A_TO_E = 6894085344739878813
