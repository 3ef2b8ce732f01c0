"""/api/trainings and /api/recipes: models in the making. Everyone may look; the owner starts, stops and removes.

A training takes the machine for hours and its recipe may name files of the server, so it is not for every key.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field, StringConstraints

from dizuo.api.auth import TheHouse, TheOwner, router
from dizuo.api.requests import RequestBody, Words
from dizuo.core.trainings import RecipeInfo, Training, TrainingPlan, TrainingPoint

routes = router("/api", "trainings")

TrainingName = Annotated[str, Path(description="the training's name", pattern=r"^[^\x00]+$", examples=["tiny"])]
Override = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00=]+=[^\x00]*$")]


class RecipeList(BaseModel):
    recipes: Sequence[RecipeInfo]


class TrainingList(BaseModel):
    trainings: Sequence[Training]


class Curve(BaseModel):
    points: Sequence[TrainingPoint]


class WantedRecipe(RequestBody):
    recipe: Words = Field(description="a shipped recipe's name, or the absolute path of a file on the server's disk")
    set: Annotated[list[Override], Field(max_length=100)] = Field(
        default=[], description="other values for keys of the recipe, each KEY=VALUE, such as steps=200"
    )


class NewTraining(WantedRecipe):
    name: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\W_][\w.\-]*$")] | None = Field(
        default=None, description="name of the training and of its model, local/NAME; without one, the recipe's"
    )


@routes.get("/recipes")
def list_recipes(house: TheHouse) -> RecipeList:
    """The recipes that ship with Dizuo."""
    return RecipeList(recipes=house.trainings.recipes())


@routes.post("/recipes/plan")
def plan_training(wanted: WantedRecipe, house: TheHouse, owner: TheOwner) -> TrainingPlan:
    """What a training would take, measured by a few real steps on this machine; may take a minute."""
    return house.trainings.plan(wanted.recipe, wanted.set)


@routes.get("/trainings")
def list_trainings(house: TheHouse) -> TrainingList:
    """Every training, the newest first."""
    return TrainingList(trainings=house.trainings.list())


@routes.post("/trainings", status_code=202)
def start_training(wanted: NewTraining, house: TheHouse, owner: TheOwner) -> Training:
    """Accepts a training; the server does one after the other. A finished one is the model local/NAME."""
    return house.trainings.start(wanted.recipe, wanted.set, wanted.name, user_id=owner.id)


@routes.get("/trainings/{name}")
def get_training(name: TrainingName, house: TheHouse) -> Training:
    return house.trainings.get(name)


@routes.get("/trainings/{name}/metrics")
def get_metrics(
    name: TrainingName,
    house: TheHouse,
    after: Annotated[int, Query(ge=0, le=2**53, description="only points past this step")] = 0,
    limit: Annotated[int, Query(ge=2, le=100_000, description="thin the curve evenly to about so many points")] = 1000,
) -> Curve:
    """The curve of a training. Ask again with `after` for what has come since."""
    return Curve(points=house.trainings.metrics(name, after, limit))


@routes.post("/trainings/{name}/stop")
def stop_training(name: TrainingName, house: TheHouse, owner: TheOwner) -> Training:
    """Has a training save and stop; one that is over stays as it is."""
    return house.trainings.stop(name)


@routes.post("/trainings/{name}/resume", status_code=202)
def resume_training(name: TrainingName, house: TheHouse, owner: TheOwner) -> Training:
    """Goes on with a training that stopped or failed, from its last checkpoint; 409 for one that is done."""
    return house.trainings.resume(name, user_id=owner.id)


@routes.delete("/trainings/{name}", status_code=204)
def delete_training(name: TrainingName, house: TheHouse, owner: TheOwner) -> None:
    """Removes a training with its checkpoints and its curve; the model that it made stays. 409 while it is at work."""
    house.trainings.delete(name)
