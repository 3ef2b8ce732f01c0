"""/api/prices: what models cost."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheOwner, TheUser, router
from dizuo.api.requests import RequestBody, Text
from dizuo.gateway.prices import Currency, Price

routes = router("/api/prices", "prices")

_Model = Annotated[str, Path(description="a model's name, or a pattern with *", pattern=r"^[^\x00]{1,128}$")]
_Amount = Annotated[float, Field(strict=True, ge=0, le=1e9)]


class PriceList(BaseModel):
    prices: Sequence[Price]


class NewPrice(RequestBody):
    input: _Amount = Field(description="for a million tokens of the prompt")
    output: _Amount = Field(description="for a million tokens written")
    cached_input: _Amount | None = Field(None, description="for a million that the provider had kept; else as input")
    cpu_hour: _Amount = Field(0.0, description="for an hour of this machine's processor time")
    currency: Currency = "USD"
    dated: Annotated[Text, Field(max_length=40)] = Field("", description="the day of the price; else today")
    source: Annotated[Text, Field(max_length=500)] = Field("", description="the page it was read from")


@routes.get("")
def list_prices(house: TheHouse, _user: TheUser) -> PriceList:
    """Every price in force: one's own rows first, then those that come with Dizuo (`shipped`)."""
    return PriceList(prices=house.prices.list())


@routes.put("/{model:path}")
def set_price(new: NewPrice, model: _Model, house: TheHouse, _owner: TheOwner) -> Price:
    """A row of one's own. Calls that are over keep the cost that they had."""
    return house.prices.set(model, **new.model_dump())


@routes.delete("/{model:path}")
def remove_price(model: _Model, house: TheHouse, _owner: TheOwner) -> Price:
    """Removes a row of one's own."""
    return house.prices.remove(model)
