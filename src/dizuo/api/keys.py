"""/api/keys: keys for the API."""

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheOwner, TheUser, router
from dizuo.api.requests import Name, RequestBody
from dizuo.platform.identity import Key

routes = router("/api/keys", "keys")


class KeyList(BaseModel):
    keys: list[Key]


class NewKey(RequestBody):
    name: Name = "default"


class MadeKey(Key):
    key: str = Field(description="the key itself; shown this once, only its hash is kept")


@routes.get("")
def list_keys(house: TheHouse, owner: TheOwner) -> KeyList:
    """Every key, without its secret part. For the owner alone."""
    return KeyList(keys=house.identity.keys())


@routes.post("", status_code=201)
def create_key(new: NewKey, house: TheHouse, user: TheUser) -> MadeKey:
    """A key that may do what the caller may."""
    key, secret = house.identity.create_key(new.name, user)
    return MadeKey(key=secret, **key.model_dump())


@routes.delete("/{key_id}")
def revoke_key(
    key_id: Annotated[str, Path(description="the key's id, or how it begins", pattern=r"^[^\x00]+$")],
    house: TheHouse,
    owner: TheOwner,
) -> Key:
    """Makes a key useless at once. For the owner alone."""
    return house.identity.revoke_key(key_id)
