"""The sample knowledge base (the project's own guide, in English and Chinese) and the first questions to it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dizuo.core.documents import Answer
from dizuo.core.errors import NotFound, UserError
from dizuo.core.jobs import Job

if TYPE_CHECKING:
    from dizuo.wiring import House

KNOWLEDGE = "guide"
QUESTIONS = ("How do I back up my data?", "怎样备份我的数据？")


def load_sample(house: "House", *, again: bool = False) -> Job | None:
    """Submits the guide as a knowledge base.

    None when that was done once before, even if it was removed since; `again` brings a removed one back.
    """
    if house.jobs.list(subject=KNOWLEDGE, limit=1) and not (again and not _exists(house)):
        return None
    return house.library.add(KNOWLEDGE, [Path(__file__).parent / "guide"])


def wait_for_sample(house: "House", progress: Callable[[Job], None], *, again: bool = False) -> bool:
    """Loads the sample where it never was, and waits until it is in; False where it was removed since.

    Raises UserError when the sample could not be read.
    """
    load_sample(house, again=again)
    for pending in house.jobs.list(subject=KNOWLEDGE, active=True):
        for job in house.jobs.watch(pending.id):
            progress(job)
    if not _exists(house):
        return False
    if not house.library.get(KNOWLEDGE).documents:
        raise UserError("The sample knowledge base {name!r} holds no document. See: dizuo job list", name=KNOWLEDGE)
    return True


def ask(house: "House", show: Callable[[str, Answer], None]) -> None:
    """Asks the sample one question in each language."""
    for question in QUESTIONS:
        show(question, house.answerer.ask_blocking(KNOWLEDGE, question))


def _exists(house: "House") -> bool:
    try:
        house.library.get(KNOWLEDGE)
    except NotFound:
        return False
    return True
