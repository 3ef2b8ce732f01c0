"""/api/routes: names of one's own for several models, and how the models do."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Request
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheOwner, TheUser, router
from dizuo.api.errors import reader_language
from dizuo.api.requests import Name, RequestBody
from dizuo.gateway.breaker import ModelHealth
from dizuo.gateway.routes import MOST_MODELS, Route, RouteOptions, Target
from dizuo.platform.catalogue import translate

routes = router("/api/routes", "routes")
# Apart: beside "/{name}" it would seem to take that address's methods.
health_routes = router("/api/health", "routes")

ModelName = Annotated[str, Field(min_length=3, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
_RouteName = Annotated[str, Path(max_length=64, pattern=r"^[^\x00]+$")]


class RouteList(BaseModel):
    routes: Sequence[Route]


class NewTarget(RequestBody):
    model: ModelName
    weight: float = 1.0


class Options(RequestBody):
    """Seconds, and how often a call is tried. What is left out is as usual."""

    connect_s: float | None = None
    first_token_s: float | None = None
    between_tokens_s: float | None = None
    total_s: float | None = Field(default=None, description="over all tries")
    tries: int | None = None


class RouteBody(RequestBody):
    targets: list[NewTarget] = Field(min_length=1, max_length=MOST_MODELS, description="share calls by weight and load")
    fallbacks: list[ModelName] = Field([], max_length=MOST_MODELS, description="asked in turn when no target answers")
    options: Options = Field(default_factory=Options)

    def parts(self) -> tuple[list[Target], list[str], RouteOptions]:
        targets = [Target(**target.model_dump()) for target in self.targets]
        return targets, self.fallbacks, RouteOptions(**self.options.model_dump())


class NewRoute(RouteBody):
    name: Name


class ListedHealth(ModelHealth):
    """The last error is for the owner: it may quote what somebody asked."""

    said: str = Field(description="the last error in the caller's language; empty without one")


class HealthList(BaseModel):
    models: Sequence[ListedHealth]


@routes.get("")
def list_routes(house: TheHouse) -> RouteList:
    """Every route, by name."""
    return RouteList(routes=house.gateway.routes.list())


@routes.post("", status_code=201)
def create_route(new: NewRoute, house: TheHouse, _owner: TheOwner) -> Route:
    """A new route. Its name has no slash, so that no model has it."""
    return house.gateway.routes.add(new.name, *new.parts())


@health_routes.get("")
def show_model_health(request: Request, house: TheHouse, user: TheUser) -> HealthList:
    """How each remote model does that was asked lately: calls under way, failures, whether it is spared and why."""
    language, models = reader_language(request), house.gateway.health()
    if user.role != "owner":
        models = [one.model_copy(update={"last_error": None}) for one in models]
    return HealthList(
        models=[
            ListedHealth(
                **dict(one),
                said=translate(one.last_error.template, language, **one.last_error.params) if one.last_error else "",
            )
            for one in models
        ]
    )


@routes.get("/{name}")
def show_route(name: _RouteName, house: TheHouse) -> Route:
    return house.gateway.routes.get(name)


@routes.put("/{name}")
def replace_route(name: _RouteName, new: RouteBody, house: TheHouse, _owner: TheOwner) -> Route:
    """A route as it is to be from now on, whether there was one of that name or not."""
    return house.gateway.routes.add(name, *new.parts(), replace=True)


@routes.delete("/{name}")
def remove_route(name: _RouteName, house: TheHouse, _owner: TheOwner) -> Route:
    """Removes a route. Its models stay."""
    return house.gateway.routes.remove(name)
