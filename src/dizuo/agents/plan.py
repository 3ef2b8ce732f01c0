"""The plan as a tool, which the model writes whole each time, where an item is done only with evidence; and as a text,
which people edit."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from dizuo.agents.steps import PlanItem
from dizuo.core.errors import UserError
from dizuo.core.messages import Noun
from dizuo.core.tools import ToolArgumentsError, tool

PLAN_TOOL = "update_plan"


class _Item(Noun):
    text: Annotated[str, Field(min_length=1, max_length=500, description="what is to be done")]
    check: Annotated[str, Field(min_length=1, max_length=500, description="how one sees that it is done")]
    status: Literal["open", "doing", "done", "dropped"] = "open"
    evidence: Annotated[str, Field(max_length=1000, description="for an item that is done: what showed it")] = ""


@tool(name=PLAN_TOOL)
def update_plan(items: Annotated[list[_Item], Field(min_length=1, max_length=30)]) -> str:
    """Write down the plan, whole, before the first step and whenever it changes or an item is done.

    Each item has a check. Look whether the check holds before you call an item done, and say in `evidence` what showed
    it. When a check fails, change the plan.
    """
    raise NotImplementedError(items)  # the loop does it: a plan is a step of its own


def plan_of(arguments: str) -> tuple[PlanItem, ...]:
    """The plan in the arguments of a call. Raises ToolArgumentsError, also for a done item that nothing shows."""
    items: list[_Item] = update_plan.checked(arguments)["items"]
    for number, item in enumerate(items, 1):
        if item.status == "done" and not item.evidence.strip():
            raise ToolArgumentsError(
                "Item {number} is called done without evidence. Check it ({check}), then say what showed it.",
                number=number,
                check=item.check,
            )
    return tuple(PlanItem(**item.model_dump()) for item in items)


MOST_ITEMS = 100  # that a person may give
_ITEMS = TypeAdapter(Annotated[list[PlanItem], Field(max_length=MOST_ITEMS)])


def plan_text(items: Sequence[PlanItem]) -> str:
    """The plan as YAML, for a person to edit."""
    import yaml

    said = [item.model_dump() for item in items] or [{"text": "", "check": "", "status": "open", "evidence": ""}]
    return yaml.safe_dump(said, allow_unicode=True, sort_keys=False, width=110)


def plan_in(text: str) -> Sequence[PlanItem]:
    """The plan in a text of YAML or JSON: a list of items, or a document whose `items` they are. What says nothing of
    what is to be done is left out. Raises UserError."""
    import yaml

    try:
        said = yaml.safe_load(text)
        said = said.get("items", said) if isinstance(said, dict) else said
        if isinstance(said, list):
            said = [one for one in said if not (isinstance(one, dict) and not str(one.get("text") or "").strip())]
        return _ITEMS.validate_python(said or [])
    except yaml.YAMLError as error:
        raise UserError("The plan is neither YAML nor JSON: {reason}", reason=str(error)[:300]) from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "-"
        raise UserError("The plan cannot be read: {where}: {reason}", where=where, reason=fault["msg"]) from None
