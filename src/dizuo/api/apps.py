"""/api/apps: agents described in files, those that cannot be used among them. Runs of them: POST /api/runs."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Path, Request
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, router
from dizuo.api.errors import reader_language
from dizuo.apps.app import App, FoundApp
from dizuo.platform.catalogue import translate

routes = router("/api/apps", "apps")

AppName = Annotated[str, Path(description="the app's name", pattern=r"^[^\x00]+$", examples=["researcher"])]


class ListedApp(BaseModel):
    name: str
    source: Literal["shipped", "own"]
    title: str = Field(description="in the caller's language; empty where the file cannot be used")
    description: str = Field(description="in the caller's language")
    problem: str = Field(description="what is wrong with its file, or empty")


class AppList(BaseModel):
    apps: Sequence[ListedApp]


class AppDetails(ListedApp):
    file: str
    app: App | None = Field(description="the file's content")


@routes.get("")
def list_apps(request: Request, house: TheHouse) -> AppList:
    """Every app by name. Those with a `problem` cannot be used until that is mended."""
    return AppList(apps=[ListedApp(**_listed(one, request)) for one in house.apps.list()])


@routes.get("/{name}")
def show_app(name: AppName, request: Request, house: TheHouse) -> AppDetails:
    found = house.apps.find(name)
    return AppDetails(**_listed(found, request), file=found.file, app=found.app)


def _listed(found: FoundApp, request: Request) -> dict[str, Any]:
    language, app, problem = reader_language(request), found.app, found.problem
    return {
        "name": found.name,
        "source": found.source,
        "title": app.title.of(language) if app else "",
        "description": app.description.of(language) if app else "",
        "problem": translate(problem.template, language, **problem.params) if problem else "",
    }
