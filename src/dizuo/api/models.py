"""/api/models: every model of this instance, those that cannot be used among them, and how each was made."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, Field, StringConstraints

from dizuo.api.auth import TheHouse, TheOwner, router
from dizuo.api.errors import reader_language
from dizuo.api.requests import RequestBody
from dizuo.core.jobs import Job
from dizuo.gateway.models import ModelInfo
from dizuo.gateway.probe import Probe, probe
from dizuo.platform.catalogue import translate

routes = router("/api/models", "models")
trials = router("/api/trials", "models")


class ListedModel(ModelInfo):
    said: str = Field(description="the note, and what is wrong where something is, in the caller's language")


class ModelCatalogue(BaseModel):
    models: Sequence[ListedModel]


class ModelDetails(ListedModel):
    card: str = Field(description="README.md of a local model: Markdown of whoever made it; not to be trusted as HTML")
    provenance: dict[str, Any] = Field(description="recipe, data, commit, scores: dizuo.json of a local model")


class NewModel(RequestBody):
    name: Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00]*$")] = Field(description="hf/ORG/NAME")
    revision: Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00]*$")] = Field(
        "", description="branch, tag or commit"
    )


class ModelQuestion(RequestBody):
    model: Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00]*$")]
    text: Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")] = Field(
        "", description="what to give it; a sample otherwise"
    )


@routes.get("")
def list_all_models(request: Request, house: TheHouse) -> ModelCatalogue:
    """Every model. Those with a `problem` cannot be used until that is mended."""
    return ModelCatalogue(models=[ListedModel(**_listed(info, request)) for info in house.models.list()])


@routes.post("", status_code=202)
def add_model(new: NewModel, house: TheHouse, owner: TheOwner) -> Job:
    """Fetches open weights from the hub; the job that does it. When that is done, the model answers to its name."""
    return house.hub.add(new.name, new.revision, user_id=owner.id)


@trials.post("")
async def ask_model(asked: ModelQuestion, house: TheHouse, _owner: TheOwner) -> Probe:
    """Asks a model one small question: whether it works, and how fast."""
    return await probe(house.gateway, asked.model, asked.text)


@routes.get("/{name:path}")
def show_model(name: str, request: Request, house: TheHouse) -> ModelDetails:
    info = house.models.get(name)
    card, provenance = house.models.card(name), house.models.provenance(name)
    return ModelDetails(**_listed(info, request), card=card, provenance=provenance)


@routes.delete("/{name:path}")
def remove_model(name: str, request: Request, house: TheHouse, _owner: TheOwner) -> ListedModel:
    """Deletes the folder of a local model. Those that come with Dizuo stay."""
    return ListedModel(**_listed(house.models.remove(name), request))


def _listed(info: ModelInfo, request: Request) -> dict[str, Any]:
    language = reader_language(request)
    said = " ".join(translate(note.template, language, **note.params) for note in (info.note, info.problem) if note)
    return {**dict(info), "said": said}
