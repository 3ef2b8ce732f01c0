"""BLEU of translators."""

from dizuo.evals.translating import measure, nearest_pair

ROWS = [
    {"en": "The cat sleeps on the old chair.", "zh": "猫睡在旧椅子上。"},
    {"en": "The cat sleeps on the old chair.", "zh": "那只猫在旧椅子上睡觉。"},
    {"en": "Tom bought a red house near the sea.", "zh": "汤姆在海边买了一座红房子。"},
]


def test_any_of_the_references_is_right() -> None:
    known = {"The cat sleeps on the old chair.": "那只猫在旧椅子上睡觉。", ROWS[2]["en"]: ROWS[2]["zh"]}
    found = measure("memory", ROWS, "en", "zh", lambda texts: [known[text] for text in texts])
    assert found.n == 2
    assert found.bleu == 100.0
    assert "tok:zh" in found.signature


def test_the_source_itself_scores_nothing() -> None:
    assert measure("copied", ROWS, "en", "zh", list).bleu < 5


def test_the_nearest_pair_is_the_one_with_the_rare_words_in_common() -> None:
    assert nearest_pair(ROWS, "en", "zh")(["A house by the sea"]) == [ROWS[2]["zh"]]
