"""The cards of A2A: what strangers read of the instance, and what those read who hold a key. Imported when A2A is first
spoken."""

from typing import Any

from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)
from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0

from dizuo.agents.steps import APP_PREFIX
from dizuo.apps.app import App, called
from dizuo.gateway.allowed import may_ask
from dizuo.wiring import House

_AGENT = AgentSkill(id="agent", name="Agent", description="Works on a goal, step by step, and answers.", tags=["agent"])


def public_card(base_url: str) -> dict[str, Any]:
    """What strangers may know of the instance, for clients of protocol 1.0 and of 0.3. `base_url` ends with a slash."""
    return agent_card_to_dict(_instance(base_url, [_AGENT]))


def app_card(house: House, base_url: str, app: str, knowledge: str = "") -> dict[str, Any]:
    """An app as an agent of its own. Raises NotFound, and NotAllowed for a key that may not ask it. Blocking."""
    return agent_card_to_dict(_of_app(house, base_url, app, knowledge))


def extended_card(house: House, base_url: str, app: str = "", knowledge: str = "") -> AgentCard:
    """The card for whoever holds a key: the instance's names the apps that the key may ask, and where each is asked.
    Blocking. Raises as `app_card` does."""
    if app:
        return _of_app(house, base_url, app, knowledge)
    bases = [one.name for one in house.library.list()]
    apps = [
        _skill(name, found, f" It is asked at {base_url}a2a/{name.removeprefix(APP_PREFIX)}")
        for name, found in house.launcher.callable_apps(bases)
        if may_ask(name)
    ]
    return _instance(base_url, [_AGENT, *apps])


def _of_app(house: House, base_url: str, app: str, knowledge: str) -> AgentCard:
    name = called(app, knowledge)
    house.gateway.check_allowed(name)
    found = house.apps.get(app)
    url = f"{base_url}a2a/{name.removeprefix(APP_PREFIX)}"
    return _card(url, found.title.en, found.description.en, [_skill(name, found)])


def _instance(base_url: str, skills: list[AgentSkill]) -> AgentCard:
    return _card(f"{base_url}a2a", "Dizuo", "An agent of this instance.", skills)


def _skill(name: str, app: App, where: str = "") -> AgentSkill:
    return AgentSkill(
        id=name,
        name=app.title.en,
        description=app.description.en + where,
        tags=["app"],
        examples=[one.en for one in app.examples],
    )


def _card(url: str, name: str, description: str, skills: list[AgentSkill]) -> AgentCard:
    bearer = HTTPAuthSecurityScheme(scheme="bearer", description="A key of this instance: dizuo key create")
    return AgentCard(
        name=name,
        description=description,
        version="1",  # of the card: which Dizuo it is is no stranger's business
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=version)
            for version in (PROTOCOL_VERSION_1_0, PROTOCOL_VERSION_0_3)
        ],
        capabilities=AgentCapabilities(streaming=True, extended_agent_card=True),
        security_schemes={"key": SecurityScheme(http_auth_security_scheme=bearer)},
        security_requirements=[SecurityRequirement(schemes={"key": StringList()})],
        default_input_modes=["text/plain", "application/json", "text/csv", "application/octet-stream"],
        default_output_modes=["text/plain", "application/octet-stream"],
        skills=skills,
    )
