"""/v1/moderations: what is harmful in texts, by a local classifier or a provider's model.

https://platform.openai.com/docs/api-reference/moderations
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError

from dizuo.api import streams
from dizuo.api.auth import TheHouse, router
from dizuo.api.openai_types import ImageUrlPart, TextPart, kind_of
from dizuo.api.replies import WISHES
from dizuo.api.requests import RequestBody, Text
from dizuo.api.work import in_thread
from dizuo.core.errors import UserError
from dizuo.core.ids import random_hex
from dizuo.gateway.estimate import texts_tokens
from dizuo.gateway.local_folders import HUB_PREFIX, PREFIX
from dizuo.wiring import House

routes = router("/v1", "OpenAI protocol")

_Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[ImageUrlPart, Tag("<image_url>")], Discriminator(kind_of)
]


class ModerationRequest(RequestBody):
    model: Text | None = Field(
        default=None, description="a local classifier, or `PROVIDER/NAME`; else what the setting moderator names"
    )
    input: Text | Annotated[list[Text | _Part], Field(min_length=1, max_length=1000)] = Field(
        description="a text; or several, each looked at alone; or parts, text and pictures, looked at together"
    )


class ModerationResult(BaseModel):
    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, float | None]
    category_applied_input_types: dict[str, list[str] | None] = Field(default_factory=dict)


class Moderation(BaseModel):
    id: str
    model: str
    results: list[ModerationResult]


@routes.post("/moderations", response_model=Moderation, dependencies=WISHES)
async def moderate(asked: ModerationRequest, request: Request, house: TheHouse) -> Any:
    """What is harmful in each text. A local classifier's labels are the categories, all but the one that means harmless
    (safe, normal, none, non-…); one that is at least 0.5 sure flags the text.
    """
    name = asked.model or house.settings.moderator
    if not name:
        raise UserError(
            "No model was named to moderate with. Give one, or name one with the setting {setting}. Local classifiers: "
            "{names}.",
            setting="moderator (DIZUO_MODERATOR)",
            names=", ".join(info.name for info in house.models.list() if info.kind == "classifier") or "-",
            param="model",
        )
    if name.startswith((PREFIX, HUB_PREFIX)):
        return await in_thread(request, lambda: _by_labels(asked, name, house))
    return await streams.unless_gone(request, _by_provider(asked, name, house))


async def _by_provider(asked: ModerationRequest, name: str, house: House) -> Moderation:
    payload = asked.model_dump(mode="json", exclude={"model"}, exclude_none=True)
    with house.gateway.call("moderation", name, texts_tokens(_words(asked))):
        endpoint = await run_in_threadpool(house.models.endpoint, name)
        from dizuo.gateway import remote_calls

        found = await remote_calls.moderate(endpoint, payload)
        try:
            return Moderation(id=_id(found), model=name, results=found["results"])
        except ValidationError as error:
            raise endpoint.gibberish(found) from error


def _by_labels(asked: ModerationRequest, name: str, house: House) -> Moderation:
    from dizuo.gateway.moderation import verdicts

    texts = _texts(asked, name)
    with house.gateway.call("moderation", name, texts_tokens(texts)):
        found = verdicts(house.models.classifier(name), texts)
    results = [
        ModerationResult(
            flagged=one.flagged,
            categories=dict(one.categories),
            category_scores=dict(one.scores),
            category_applied_input_types={category: ["text"] for category in one.categories},
        )
        for one in found
    ]
    return Moderation(id=_id({}), model=name, results=results)


def _texts(asked: ModerationRequest, name: str) -> list[str]:
    if isinstance(asked.input, list) and any(isinstance(one, ImageUrlPart) for one in asked.input):
        raise UserError(
            "The model {name} reads text and no pictures. Leave them out, or ask a model that sees.",
            name=name,
            param="input",
        )
    of_one_thing = isinstance(asked.input, list) and any(isinstance(one, TextPart) for one in asked.input)
    return ["\n".join(_words(asked))] if of_one_thing else _words(asked)


def _words(asked: ModerationRequest) -> list[str]:
    """All text of it."""
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    return [one.text if isinstance(one, TextPart) else one for one in given if not isinstance(one, ImageUrlPart)]


def _id(found: Mapping[str, Any]) -> str:
    given = found.get("id")
    return given if isinstance(given, str) else f"modr-{random_hex(12)}"
