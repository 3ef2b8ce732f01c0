"""/api/providers: endpoints that speak the OpenAI protocol. Keys go in and never come back."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from dizuo.api.auth import TheHouse, TheOwner, router
from dizuo.api.requests import Name, RequestBody
from dizuo.gateway.presets import Preset, presets
from dizuo.gateway.providers import ProviderInfo, ProviderTest

routes = router("/api/providers", "providers")
catalogue = router("/api/presets", "providers")

ProviderName = Annotated[str, Path(description="the provider's name", pattern=r"^[^\x00]+$")]
_Line = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
_Key = Annotated[SecretStr, Field(max_length=8000)]


class ProviderList(BaseModel):
    providers: Sequence[ProviderInfo]


class ProviderCatalogue(BaseModel):
    catalogue: Sequence[Preset]


class NewProvider(RequestBody):
    name: Name
    preset: _Line = Field("", description="an id of the catalogue; unneeded where the name is one, or with a base_url")
    base_url: _Line = Field(
        "", description="its OpenAI-compatible endpoint; from the catalogue where there is a preset"
    )
    key: _Key = SecretStr("")


class ChangedProvider(RequestBody):
    key: _Key = Field(description="in place of the stored one; empty: takes that away")


@routes.get("")
def list_providers(house: TheHouse) -> ProviderList:
    """Every provider with the models that it listed when last asked."""
    return ProviderList(providers=house.providers.list())


@catalogue.get("")
def list_catalogue() -> ProviderCatalogue:
    """The providers that can be added by name."""
    return ProviderCatalogue(catalogue=list(presets().values()))


@routes.post("", status_code=201)
def add_provider(new: NewProvider, house: TheHouse, _owner: TheOwner) -> ProviderInfo:
    """Adds a provider. It is not asked anything yet: `test` does that."""
    return house.providers.add(new.name, new.preset, new.base_url, new.key.get_secret_value())


@routes.get("/{name}")
def show_provider(name: ProviderName, house: TheHouse) -> ProviderInfo:
    return house.providers.get(name)


@routes.patch("/{name}")
def change_provider(name: ProviderName, changed: ChangedProvider, house: TheHouse, _owner: TheOwner) -> ProviderInfo:
    """Gives it another key."""
    return house.providers.set_key(name, changed.key.get_secret_value())


@routes.delete("/{name}")
def remove_provider(name: ProviderName, house: TheHouse, _owner: TheOwner) -> ProviderInfo:
    return house.providers.remove(name)


@routes.post("/{name}/test")
def ask_provider(name: ProviderName, house: TheHouse, _owner: TheOwner) -> ProviderTest:
    """Asks the provider for its models, which proves address and key, and keeps the list."""
    return house.providers.test(name)
