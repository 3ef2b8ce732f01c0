"""/api/keys: keys for the API."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.api.requests import Name, RequestBody
from dizuo.core.errors import NotFound
from dizuo.platform.identity import Key, User
from dizuo.wiring import House

routes = router("/api/keys", "keys")


class KeyList(BaseModel):
    keys: Sequence[Key]


class NewKey(RequestBody):
    name: Name = "default"


class MadeKey(Key):
    key: str = Field(description="the key itself; shown this once, only its hash is kept")


@routes.get("")
def list_keys(house: TheHouse, user: TheUser) -> KeyList:
    """The caller's keys, without their secret parts; for the owner everyone's."""
    return KeyList(keys=_keys(house, user))


@routes.post("", status_code=201)
def create_key(new: NewKey, house: TheHouse, user: TheUser) -> MadeKey:
    """A key that may do what the caller may."""
    key, secret = house.identity.create_key(new.name, user)
    return MadeKey(key=secret, **key.model_dump())


@routes.delete("/{key_id}")
def revoke_key(
    key_id: Annotated[str, Path(description="the key's id, or how it begins", pattern=r"^[^\x00]+$")],
    house: TheHouse,
    user: TheUser,
) -> Key:
    """Makes a key useless at once: one of the caller's; for the owner anyone's."""
    if user.role != "owner" and not any(key_id in (str(key.id), key.prefix) for key in _keys(house, user)):
        raise NotFound("No key has the id {key!r} or begins with it. List them: dizuo key list", key=key_id[:80])
    return house.identity.revoke_key(key_id)


def _keys(house: House, user: User) -> list[Key]:
    everyone = house.identity.keys()
    return [key for key in everyone if user.role == "owner" or key.user == user.name]
