"""/api/webhook: the address that is told what runs ask people. Its secret is shown once."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from dizuo.agents.webhook import Delivery, DeliveryStatus, NewWebhook, WebhookInfo
from dizuo.api.auth import TheHouse, TheOwner, Unrestricted, router
from dizuo.api.requests import RequestBody

routes = router("/api/webhook", "runs")


class ShownWebhook(BaseModel):
    webhook: WebhookInfo | None = Field(description="null where none is set")


class DeliveryList(BaseModel):
    deliveries: Sequence[Delivery]


class TriedWebhook(BaseModel):
    seconds: float = Field(description="until it was taken")


class WebhookBody(RequestBody):
    url: Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
    secret: Annotated[SecretStr, Field(max_length=200)] = Field(
        SecretStr(""), description="whsec_ and base64, as Standard Webhooks have it; empty: one is made"
    )


@routes.get("")
def show_webhook(house: TheHouse, _owner: TheOwner) -> ShownWebhook:
    return ShownWebhook(webhook=house.webhook.get())


@routes.put("")
def set_webhook(new: WebhookBody, house: TheHouse, _owner: TheOwner, _unrestricted: Unrestricted) -> NewWebhook:
    """Names the address that is told, and gives the secret that messages are signed with: this once."""
    return house.webhook.set(new.url, new.secret.get_secret_value())


@routes.delete("")
def remove_webhook(house: TheHouse, _owner: TheOwner) -> WebhookInfo:
    """Nothing is told to anybody any more."""
    return house.webhook.remove()


@routes.post("/test")
def try_webhook(house: TheHouse, _owner: TheOwner, _unrestricted: Unrestricted) -> TriedWebhook:
    """Sends the address a message of the type `webhook.test`; the error says what went wrong."""
    return TriedWebhook(seconds=house.webhook.test())


@routes.get("/deliveries")
def list_deliveries(
    house: TheHouse,
    _owner: TheOwner,
    status: DeliveryStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> DeliveryList:
    """What was told, what is to be told and what could not be told, the latest first."""
    return DeliveryList(deliveries=house.webhook.deliveries(status, limit))
