"""/v1/images/generations: pictures by a provider's image model.

https://platform.openai.com/docs/api-reference/images/create
"""

import time
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dizuo.api import streams
from dizuo.api.auth import TheHouse, router
from dizuo.api.replies import WISHES
from dizuo.api.requests import RequestBody, Text, Words
from dizuo.core.errors import NotFound
from dizuo.core.messages import Usage
from dizuo.gateway.estimate import text_tokens
from dizuo.gateway.local_folders import HUB_PREFIX, PREFIX
from dizuo.wiring import House

routes = router("/v1", "OpenAI protocol")


class ImageRequest(RequestBody):
    """What is given goes to the provider as it is; which of it a model takes, the provider says."""

    model: Text = Field(description="`PROVIDER/NAME`")
    prompt: Words
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: Text | None = Field(default=None, description="such as 1024x1024")
    quality: Text | None = None
    style: Text | None = None
    response_format: Literal["url", "b64_json"] | None = None
    background: Text | None = None
    moderation: Text | None = None
    output_format: Text | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    user: Text | None = None

    unsupported: ClassVar[frozenset[str]] = frozenset({"partial_images", "stream"})


class DrawnImage(BaseModel):
    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


class DrawnUsage(BaseModel):
    model_config = ConfigDict(extra="allow")

    input_tokens: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)] = 0
    total_tokens: int = 0


class Images(BaseModel):
    created: int
    data: list[DrawnImage]
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    usage: DrawnUsage | None = None


@routes.post("/images/generations", response_model=Images, response_model_exclude_none=True, dependencies=WISHES)
async def draw(asked: ImageRequest, request: Request, house: TheHouse) -> Any:
    """Pictures of what the prompt says, as addresses or as base64."""
    if asked.model.startswith((PREFIX, HUB_PREFIX)):
        raise NotFound(
            "No image model is named {name!r}: models of this machine draw no pictures. Name one of a provider, as "
            "PROVIDER/NAME.",
            name=asked.model,
            param="model",
        )
    return await streams.unless_gone(request, _drawn(asked, house))


async def _drawn(asked: ImageRequest, house: House) -> Images:
    payload = asked.model_dump(mode="json", exclude={"model"}, exclude_none=True)
    with house.gateway.call("image", asked.model, text_tokens(asked.prompt)) as call:
        endpoint = await run_in_threadpool(house.models.endpoint, asked.model)
        from dizuo.gateway import remote_calls

        call.unpriced = True  # until it says what it took: pictures are charged by the piece, too
        found = await remote_calls.draw(endpoint, payload)
        try:
            made = Images.model_validate({"created": int(time.time()), **found})
        except ValidationError as error:
            raise endpoint.gibberish("images") from error
        if made.usage is not None:
            call.usage = Usage(prompt_tokens=made.usage.input_tokens, completion_tokens=made.usage.output_tokens)
            call.unpriced = False
    return made
