"""The sample knowledge base (the project's own guide, in English and Chinese) and the first questions to it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dizuo.core.documents import Answer
from dizuo.core.errors import UserError
from dizuo.core.jobs import Job

if TYPE_CHECKING:
    from dizuo.wiring import House

KNOWLEDGE = "guide"
QUESTIONS = ("How do I back up my data?", "怎样备份我的数据？")


def load_sample(house: "House") -> Job | None:
    """Submits the guide as a knowledge base; None when that was done once before, even if it was removed since."""
    if house.jobs.list(subject=KNOWLEDGE, limit=1):
        return None
    return house.library.add(KNOWLEDGE, [Path(__file__).parent / "guide"])


def run(house: "House", progress: Callable[[Job], None], show: Callable[[str, Answer], None]) -> None:
    """Loads the sample, waits until it is in, and asks one question in each language.

    Raises UserError when the sample could not be read.
    """
    load_sample(house)
    for pending in house.jobs.list(subject=KNOWLEDGE, active=True):
        for job in house.jobs.watch(pending.id):
            progress(job)
    if not house.library.get(KNOWLEDGE).documents:
        raise UserError("The sample knowledge base {name!r} holds no document. See: dizuo job list", name=KNOWLEDGE)
    for question in QUESTIONS:
        show(question, house.answerer.ask_blocking(KNOWLEDGE, question))
