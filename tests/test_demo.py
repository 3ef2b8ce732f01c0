"""The first start: a sample to ask, once, and a right answer in each language."""

from pathlib import Path

from dizuo import demo
from dizuo.core.documents import Answer
from dizuo.core.jobs import Job
from dizuo.wiring import House

GUIDE = Path(demo.__file__).parent / "guide"


def load(house: House, *, again: bool = False) -> tuple[bool, list[Job]]:
    states: list[Job] = []
    return demo.wait_for_sample(house, states.append, again=again), states


def test_the_guide_answers_one_question_in_each_language(house: House) -> None:
    there, states = load(house)
    assert there
    assert states[-1].status == "done"
    assert house.library.get("guide").documents == len(list(GUIDE.rglob("*.md")))
    answers: dict[str, Answer] = {}
    demo.ask(house, lambda question, answer: answers.update({question: answer}))
    assert list(answers) == list(demo.QUESTIONS)
    for answer, expected in zip(answers.values(), ("en/operating.md", "zh/运行与维护.md"), strict=True):
        assert answer.found, answer
        assert answer.citations[0].document == expected
        assert "dizuo backup" in answer.answer


def test_a_sample_that_was_removed_stays_away_until_it_is_asked_for(house: House) -> None:
    load(house)
    assert demo.load_sample(house) is None
    house.library.remove("guide")
    assert load(house) == (False, [])
    there, _states = load(house, again=True)
    assert there
    assert demo.load_sample(house, again=True) is None
