"""/api/keys: keys for the API."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, Field

from dizuo.api.auth import TheHouse, TheUser, Unrestricted, router
from dizuo.api.requests import Name, RequestBody, Text
from dizuo.core.errors import NotFound
from dizuo.platform.identity import User
from dizuo.platform.keys import MAX_GRACE, Key, Scope
from dizuo.wiring import House

routes = router("/api/keys", "keys")

_KeyId = Annotated[str, Path(description="the key's id, or how it begins", pattern=r"^[^\x00]+$")]


class KeyList(BaseModel):
    keys: Sequence[Key]


class NewKey(RequestBody):
    name: Name = "default"
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)] | None = Field(
        None, description="`models`: /v1 only; `read`: looking only; nothing: all that the user may"
    )
    models: Annotated[list[Text], Field(min_length=1, max_length=50)] | None = Field(
        None, description="names or patterns (`openai/*`) of the models that it may ask; nothing: all"
    )
    expires_at: AwareDatetime | None = None
    uncached: bool = Field(False, description="neither given kept answers nor are its own kept")


class Rotation(RequestBody):
    grace_s: int = Field(0, ge=0, le=int(MAX_GRACE.total_seconds()), description="how long the old key works on")


class MadeKey(Key):
    key: str = Field(description="the key itself; shown this once, only its hash is kept")


@routes.get("")
def list_keys(house: TheHouse, user: TheUser) -> KeyList:
    """The caller's keys, without their secret parts; for the owner everyone's."""
    return KeyList(keys=_keys(house, user))


@routes.post("", status_code=201)
def create_key(new: NewKey, house: TheHouse, caller: Unrestricted) -> MadeKey:
    """A key that may do what the caller may, or less."""
    expires_at: datetime | None = new.expires_at
    may = {"scopes": new.scopes, "models": new.models, "expires_at": expires_at, "uncached": new.uncached}
    key, secret = house.identity.create_key(new.name, caller.user, **may)
    return MadeKey(key=secret, **key.model_dump())


@routes.post("/{key_id}/rotate")
def rotate_key(rotation: Rotation, key_id: _KeyId, house: TheHouse, caller: Unrestricted) -> MadeKey:
    """A new secret for the key, which is the same otherwise."""
    _check_own(house, caller.user, key_id)
    key, secret = house.identity.rotate_key(key_id, timedelta(seconds=rotation.grace_s))
    return MadeKey(key=secret, **key.model_dump())


@routes.delete("/{key_id}")
def revoke_key(key_id: _KeyId, house: TheHouse, user: TheUser) -> Key:
    """Makes a key useless at once: one of the caller's; for the owner anyone's."""
    _check_own(house, user, key_id)
    return house.identity.revoke_key(key_id)


def _check_own(house: House, user: User, key_id: str) -> None:
    if user.role != "owner" and not any(key_id in (str(key.id), key.prefix) for key in _keys(house, user)):
        raise NotFound("No key has the id {key!r} or begins with it. List them: dizuo key list", key=key_id[:80])


def _keys(house: House, user: User) -> list[Key]:
    everyone = house.identity.keys()
    return [key for key in everyone if user.role == "owner" or key.user == user.name]
