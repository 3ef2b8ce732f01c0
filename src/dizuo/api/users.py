"""/api/users: who may sign in. For the owner alone."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Request
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheOwner, Unrestricted, router
from dizuo.api.requests import Name, RequestBody
from dizuo.platform.identity import User

routes = router("/api/users", "users")

UserName = Annotated[str, Path(description="the user's name", pattern=r"^[^\x00]+$")]


class UserList(BaseModel):
    users: Sequence[User]


class NewUser(RequestBody):
    name: Name


class LoginLink(BaseModel):
    """A way in that works once, to set a password with. Hand it to that person alone."""

    user: User
    link: str = Field(description="the address to open in a browser")
    token: str = Field(description="the token in it, for POST /api/session/link")


@routes.get("")
def list_users(house: TheHouse, owner: TheOwner) -> UserList:
    return UserList(users=house.identity.users())


@routes.post("", status_code=201)
def create_user(new: NewUser, request: Request, house: TheHouse, owner: TheOwner, _caller: Unrestricted) -> LoginLink:
    """A member, with a one-time link to set a password with."""
    user = house.identity.create_user(new.name)
    return _link(request, house.identity.login_link(user.name), user)


@routes.post("/{name}/link", status_code=201)
def create_link(name: UserName, request: Request, house: TheHouse, owner: TheOwner, _caller: Unrestricted) -> LoginLink:
    """A new one-time link, for a forgotten password. Links made before stop working."""
    token = house.identity.login_link(name)
    user = next(user for user in house.identity.users() if user.name == name)
    return _link(request, token, user)


@routes.delete("/{name}", status_code=204)
def remove_user(name: UserName, house: TheHouse, owner: TheOwner) -> None:
    """Removes a member with their keys, sessions and threads."""
    house.identity.remove_user(name)


def _link(request: Request, token: str, user: User) -> LoginLink:
    return LoginLink(user=user, link=f"{request.base_url}login?token={token}", token=token)
