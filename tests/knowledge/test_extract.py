"""Quotations: which sentence is taken, how much of it, and when none is."""

from collections.abc import Sequence
from typing import Any

import pytest

from dizuo.core.documents import Hit, Leg
from dizuo.knowledge.extract import extract
from dizuo.knowledge.features import NAMES, Question, features

STAFF = (
    "Full-time staff get 30 days of leave a year. It is booked with Anna Smith. Part-time staff get 15 days of leave."
)
OFFICE = "The office opens at nine in the morning. Lunch is served from noon. The car park holds forty cars."


def hit(text: str, *, document: str = "a.md", heading: str = "", start: int = 0, rank: int = 1) -> Hit:
    return Hit(
        document=document, document_id=f"doc_{document}", chunk=f"chk_{document}_{start}", text=text, score=1 / rank,
        heading=heading, page=None, start=start, end=start + len(text), legs={"keyword": Leg(rank=rank, score=1.0)},
    )  # fmt: skip


def quoted(question: str, *hits: Hit) -> str:
    found = extract(question, hits, None)
    assert found.quote is not None
    return found.quote.text


def test_the_sentence_that_answers_is_quoted_with_its_place() -> None:
    text = f"Head\n\n{OFFICE}"
    found = extract("When is lunch served?", [hit(STAFF), hit(OFFICE, document="b.md", start=6)], None)
    assert found.found
    assert found.quote is not None
    citation = found.quote.citation()
    assert citation.document == "b.md"
    assert citation.quote == text[citation.start : citation.end] == "Lunch is served from noon."


def test_a_chinese_question_gets_the_chinese_sentence() -> None:
    text = "年假为三十天。病假需要医生证明，由张伟审批。食堂中午十二点开饭。"
    found = extract("病假由谁审批？", [hit(text)], None)
    assert found.found
    assert found.quote is not None
    assert found.quote.text == "病假需要医生证明，由张伟审批。"


@pytest.mark.parametrize(
    "question", ["What is the capital of France?", "Who won the match?", "今天天气怎么样", "法国的首都是哪里？"]
)
def test_a_question_about_something_else_is_refused(question: str) -> None:
    assert not extract(question, [hit(STAFF), hit(OFFICE, document="b.md")], None).found


@pytest.mark.parametrize("question", ["?", "的", "   ", "the of and", "🤷", "x" * 3000])
def test_a_question_without_a_telling_word_is_refused(question: str) -> None:
    assert not extract(question, [hit(STAFF)], None).found


def test_nothing_found_is_nothing_quoted() -> None:
    assert extract("When is lunch?", [], None).quote is None
    assert extract("When is lunch?", [hit("# Lunch\n\n---")], None).quote is None


def test_a_copy_of_the_passage_makes_the_answer_no_less_sure() -> None:
    text = "年假为三十天。病假需要医生证明，由张伟审批。食堂中午十二点开饭。"
    copies = [hit(text, document=name, rank=n) for n, name in enumerate(("手册.docx", "手册.pdf", "手册.html"), 1)]
    alone, beside_copies = (extract("病假由谁审批？", hits, None) for hits in (copies[:1], copies))
    assert beside_copies == alone


def test_a_sentence_that_leans_on_the_one_before_brings_it_along() -> None:
    text = "The blue card opens the server room. It is kept by the porter at the gate. The car park holds forty cars."
    assert quoted("Who keeps the card that the porter at the gate has?", hit(text)).startswith("The blue card opens")


def test_a_table_row_is_shown_below_its_header() -> None:
    table = "| Plan | Price |\n|---|---|\n| Basic | 10 euro |\n| Premium | 25 euro |"
    found = extract("What is the price of the Premium plan?", [hit(table)], None)
    assert found.quote is not None
    assert found.quote.text == "| Premium | 25 euro |"
    assert found.quote.shown == "| Plan | Price |\n|---|---|\n| Premium | 25 euro |"


def test_a_sentence_that_introduces_a_list_is_quoted_with_it() -> None:
    text = "To reset the router, do this:\n\n1. Pull the plug.\n2. Wait a minute.\n3. Plug it in again.\n\nDone."
    assert quoted("How do I reset the router?", hit(text)).endswith("3. Plug it in again.")


def test_a_question_in_the_document_is_quoted_with_its_answer() -> None:
    text = "Where can I park my bicycle? Behind the main building. Can I bring my dog? Yes."
    assert quoted("Where can I park a bicycle?", hit(text)).endswith("Behind the main building.")


def test_an_example_of_the_question_is_no_answer() -> None:
    text = 'Ask: `dizuo ask "How many days of leave do I have?" --knowledge handbook`. A folder works too.'
    assert not extract("How many days of leave do I have?", [hit(text)], None).found


def test_a_very_long_sentence_is_cut_short() -> None:
    text = "The budget of the harbour project " + ", ".join(f"item {n}" for n in range(400)) + "."
    quote = quoted("What is the budget of the harbour project?", hit(text))
    assert len(quote) <= 600
    assert quote in text


def test_pictures_are_left_out_of_what_is_shown_and_kept_in_the_quotation() -> None:
    text = "The harbour budget is nine million ![chart](https://evil.example/p.png) euro."
    found = extract("What is the harbour budget?", [hit(text)], None)
    assert found.quote is not None
    assert found.quote.text == text
    assert found.quote.shown == "The harbour budget is nine million chart euro."


def test_an_english_question_prefers_the_english_passage_of_two() -> None:
    chinese = "运行这条命令即可恢复备份：`restore a backup`。"
    english = "`dizuo restore FILE` brings a backup back."
    assert quoted("How do I restore a backup?", hit(chinese), hit(english, document="b.md")) == english


def test_back_up_and_backup_are_the_same_word() -> None:
    backup = "`dizuo backup FILE` writes everything into one file."
    assert (
        quoted("How do I back up everything?", hit("Go back two steps and look up. " + OFFICE), hit(backup)) == backup
    )


def test_every_candidate_has_every_feature_as_a_number() -> None:
    found: list[tuple[int, int, list[float]]] = features(Question("When is lunch?"), [hit(STAFF), hit(OFFICE)])
    assert len(found) == 6
    assert all(len(values) == len(NAMES) and all(isinstance(v, float) for v in values) for _h, _s, values in found)


def test_sentences_are_compared_by_meaning_where_the_embedder_knows_the_language() -> None:
    import numpy as np

    class Embedder:
        name, dimension, seen = "local/minilm", 2, 0

        def embed(self, texts: Sequence[str]) -> Any:
            self.seen += len(texts)
            return np.array([[1.0, 0.0] if "noon" in text or "?" in text else [0.0, 1.0] for text in texts], np.float32)

        def coverage(self, text: str) -> float:
            return float(text.isascii())

        def count_tokens(self, text: str) -> int:
            return len(text)

    embedder = Embedder()
    found = extract("Mealtime?", [hit(OFFICE)], embedder)
    assert found.quote is not None
    assert "noon" in found.quote.text
    assert embedder.seen == 4
    extract("午饭几点？", [hit(OFFICE)], embedder)
    assert embedder.seen == 4


RULES = "## Visitors\n\nRules:\n\n- Visitors sign in at the desk.\n- They wear a badge. It is red.\n- No dogs.\n\nEnd."
OFFICES = "| Office | Address |\n|---|---|\n| Berlin | Torstrasse |\n| Lisbon | Rua Augusta |\n| Osaka | Umeda |"


def test_a_question_that_asks_for_several_gets_the_whole_list() -> None:
    found = hit(RULES, heading="Visitors")
    assert quoted("What rules apply to visitors?", found) == RULES.partition("\n\n")[2].removesuffix("\n\nEnd.")
    assert quoted("Where do visitors sign in?", found) == "- Visitors sign in at the desk."


def test_a_question_for_steps_gets_them_all_in_chinese_too() -> None:
    steps = "1. 填写报销申请单。\n2. 上传发票。\n3. 经理审批。"
    found = hit(f"## 报销流程\n\n{steps}\n\n## 交通\n\n高铁二等座。", heading="报销流程")
    assert quoted("报销流程有哪些步骤？", found) == steps


def test_a_question_for_several_gets_the_whole_table() -> None:
    found = extract("List all offices.", [hit(OFFICES)], None)
    assert found.quote is not None
    assert found.quote.shown == OFFICES
    assert quoted("What is the address of the office in Osaka?", hit(OFFICES)) == "| Osaka | Umeda |"


def test_a_question_for_several_gets_only_the_rows_that_hold_its_words() -> None:
    table = "| 姓名 | 部门 |\n|---|---|\n| 陈静 | 市场部 |\n| 黄伟 | 研发部 |\n| 吴昊 | 研发部 |\n| 李强 | 财务部 |"
    assert quoted("研发部有哪些人？", hit(table)) == "| 黄伟 | 研发部 |\n| 吴昊 | 研发部 |"


def test_a_long_list_is_quoted_around_the_answer_and_ends_with_an_item() -> None:
    items = [f"- Office number {n} has a garden and a view of the river." for n in range(60)]
    items[40] = "- Our harbour office has a garden and a view of the river."
    quote = quoted("Which harbour offices are there?", hit("\n".join(items)))
    assert items[40] in quote
    assert 600 < len(quote) <= 1000
    assert set(quote.split("\n")) <= set(items)


BILLING = """{
 "service": "billing",
 "vat_rate": 0.19,
 "invoice": {
  "due_days": 21,
  "late_fee": "12 EUR"
 },
 "regions": [
  "DE",
  "PT"
 ]
}"""


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("What is the VAT rate?", '"vat_rate": 0.19'),
        ("In how many days is an invoice due?", '"invoice": {\n"due_days": 21'),
        ("Which regions are there?", '"regions": [\n  "DE",\n  "PT"\n ]'),
    ],
)
def test_of_json_the_value_with_its_keys_is_quoted(question: str, shown: str) -> None:
    found = extract(question, [hit(BILLING)], None)
    assert found.quote is not None
    assert found.quote.shown == shown
    assert found.quote.text in BILLING


def test_a_record_of_json_stays_whole_where_its_keys_do_not_say_what_is_asked() -> None:
    record = '{\n "name": "Bob Tan",\n "city": "Lisbon"\n}'
    assert quoted("Where does Bob Tan live?", hit(record)) == record
    assert quoted("In which city is Bob Tan?", hit(record)) == record


def test_a_follow_up_that_names_another_thing_is_answered_about_that() -> None:
    meals = "On business trips, the allowance for each meal is 55 euros a day."
    hotels = "A hotel may cost up to 160 euros a night."
    asked = "How much is the meal allowance on business trips?"
    assert quoted(asked, hit(meals), hit(hotels, document="b.md")) == meals
    assert quoted(f"{asked}\nAnd what about hotels?", hit(meals), hit(hotels, document="b.md")) == hotels
    assert quoted(f"{asked}\nAnd what about trains?", hit(meals), hit(hotels, document="b.md")) == meals


def test_a_follow_up_is_not_answered_by_a_sentence_with_a_part_of_its_words() -> None:
    asked = "How many days of leave do I get?\nAnd for part-time staff?"
    text = "Full-time staff get 30 days of leave a year. Part-time staff get less, in proportion to their hours."
    assert quoted(asked, hit(text)).startswith("Part-time staff")
