"""Who may come in: users, one-time links, passwords, sessions and API keys.

No secret is kept: links, sessions and keys carry 256 random bits and are stored as SHA-256, passwords as
Argon2id. Nothing is cached beyond the next write to the database, so that a key that one process revokes stops working
in every other at once.
"""

import contextlib
import hmac
import ipaddress
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dizuo.core.errors import Conflict, NotAllowed, NotFound, NotSignedIn, TooMany, UserError
from dizuo.core.messages import Noun
from dizuo.platform import schema
from dizuo.platform.database import Database
from dizuo.platform.keys import FoundKey, Key, Keys
from dizuo.platform.passwords import Passwords
from dizuo.platform.secrets_kept import checked_name, from_now, hashed

SESSION_COOKIE = "dizuo_session"
OWNER_NAME = "owner"
MIN_PASSWORD_LENGTH = 10

_LINK_LIFE = timedelta(hours=24)
_SESSION_LIFE = timedelta(days=30)
_FAILURE_WINDOW = timedelta(minutes=15)
_MAX_FAILURES = {"user": 5, "address": 20}

Role = Literal["owner", "member"]


class User(Noun):
    """Who may sign in. `has_password` is False until a one-time link has been used."""

    id: int
    name: str
    role: Role
    has_password: bool
    created_at: datetime


class Session(Noun):
    """A sign-in of the studio. Requests that change something must bring `csrf_token` along."""

    user: User
    csrf_token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whom a key speaks for, and what it may be used for."""

    user: User
    key: FoundKey


class Identity:
    """The users of an instance and their ways in. Blocking; safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passwords = Passwords()
        self._keys = Keys(database)

    # --- users ------------------------------------------------------------------------------------------------

    def owner(self) -> User:
        """The owner of this instance, whose account the first use makes, without a password."""
        by_role = _users().where(schema.users.c.role == "owner")
        with self._database.read() as connection:
            row = connection.execute(by_role).first()
        if row is None:
            values = {"name": OWNER_NAME, "role": "owner", "created_at": schema.now()}
            # Another process may make the same account at this moment; the name is unique.
            with contextlib.suppress(IntegrityError), self._database.write() as connection:
                connection.execute(schema.users.insert().values(**values))
            with self._database.read() as connection:
                row = connection.execute(by_role).one()
        return _user(row)

    def owner_needs_link(self) -> bool:
        """Whether the owner has no password yet."""
        return not self.owner().has_password

    def users(self) -> Sequence[User]:
        """Everyone who may sign in, the owner first."""
        self.owner()
        with self._database.read() as connection:
            return [_user(row) for row in connection.execute(_users().order_by(schema.users.c.id))]

    def create_user(self, name: str) -> User:
        """A member, without a password. Raises Conflict when the name is taken, UserError when it is no good."""
        self.owner()
        name = checked_name(name)
        values: dict[str, Any] = {"name": name, "role": "member", "created_at": schema.now()}
        try:
            with self._database.write() as connection:
                if (number := schema.unused_id(connection, schema.users, "user_id")) is not None:
                    values["id"] = number
                connection.execute(schema.users.insert().values(**values))
        except IntegrityError:
            raise Conflict("A user named {name!r} exists already.", name=name) from None
        return self._named(name)

    def remove_user(self, name: str) -> None:
        """Removes a member with their keys, sessions and threads. Raises NotFound, and Conflict for the owner."""
        user = self._named(name)
        if user.role == "owner":
            raise Conflict("{name!r} owns this instance and cannot be removed.", name=name)
        limits, keys = schema.limits, schema.api_keys
        with self._database.write() as connection:
            ids = connection.scalars(sa.select(keys.c.id).where(keys.c.user_id == user.id))
            of_user = (limits.c.subject == "user") & (limits.c.subject_id == str(user.id))
            of_keys = (limits.c.subject == "key") & limits.c.subject_id.in_([str(one) for one in ids])
            connection.execute(limits.delete().where(of_user | of_keys))
            connection.execute(schema.users.delete().where(schema.users.c.id == user.id))

    def _named(self, name: str) -> User:
        everyone = {user.name: user for user in self.users()}
        if name not in everyone:
            names = ", ".join(list(everyone)[:20])
            raise NotFound("No user is named {name!r}. There are: {names}.", name=name, names=names)
        return everyone[name]

    # --- one-time links and passwords -------------------------------------------------------------------------

    def login_link(self, name: str) -> str:
        """A token that lets that user set a password, once, within 24 hours. Earlier ones stop working.

        Raises NotFound.
        """
        user = self._named(name)
        token = secrets.token_urlsafe(32)
        links = schema.login_links
        values = {
            "token_hash": hashed(token),
            "user_id": user.id,
            "created_at": schema.now(),
            "expires_at": from_now(_LINK_LIFE),
        }
        with self._database.write() as connection:
            connection.execute(links.delete().where((links.c.user_id == user.id) | (links.c.expires_at < schema.now())))
            connection.execute(links.insert().values(**values))
        return token

    def redeem(self, token: str, password: str) -> str:
        """Sets a password with a one-time link; returns the token of a new session. Every other session ends.

        Raises NotSignedIn for a link that is unknown, used or expired, UserError for a password that is too short.
        """
        links = schema.login_links
        usable = (links.c.token_hash == hashed(token)) & links.c.used_at.is_(None) & (links.c.expires_at > schema.now())
        with self._database.read() as connection:
            user_id = connection.scalar(sa.select(links.c.user_id).where(usable))
        if user_id is None:
            raise _stale_link()
        if len(password) < MIN_PASSWORD_LENGTH:
            raise UserError("The password is too short: it needs at least {n} characters.", n=MIN_PASSWORD_LENGTH)
        password_hash = self._passwords.hash(password)  # before the transaction: it takes a twentieth of a second
        with self._database.write() as connection:
            # The link is looked at again: two may have come with it at once.
            if not connection.execute(links.update().where(usable).values(used_at=schema.now())).rowcount:
                raise _stale_link()
            connection.execute(
                schema.users.update().where(schema.users.c.id == user_id).values(password_hash=password_hash)
            )
            connection.execute(schema.sessions.delete().where(schema.sessions.c.user_id == user_id))
            return self._new_session(connection, user_id)

    def login(self, name: str, password: str, address: str) -> str:
        """The token of a new session.

        Raises NotSignedIn for a wrong name or password, the two not told apart, neither by words nor by time; and
        TooMany after five failures for a name, or twenty from an address, within a quarter of an hour.
        """
        name = name.strip()[:100].replace("\0", "")
        attempt = self._begin_attempt([f"user:{name}", f"address:{_network(address)}"])
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(schema.users.c.id, schema.users.c.password_hash).where(schema.users.c.name == name)
            ).first()
        kept = row.password_hash if row is not None else None
        if not self._passwords.fits(kept, password) or row is None:
            raise NotSignedIn("The name or the password is wrong.")
        failures = schema.login_failures
        with self._database.write() as connection:
            gone = failures.c.id.in_(attempt) | (failures.c.who == f"user:{name}")
            connection.execute(failures.delete().where(gone))
            return self._new_session(connection, row.id)

    def _begin_attempt(self, who: Sequence[str]) -> Sequence[int]:
        """Counts a sign-in as failed until it has succeeded; returns the rows of it.

        Counted before the password is checked, so that guesses sent all at once are counted as well.
        """
        failures = schema.login_failures
        with self._database.write() as connection:
            if not self._database.is_sqlite:  # where writers do not take turns by themselves
                connection.execute(sa.text("LOCK TABLE login_failures IN SHARE ROW EXCLUSIVE MODE"))
            connection.execute(failures.delete().where(failures.c.at < from_now(-_FAILURE_WINDOW)))
            for one in who:
                at = sa.select(failures.c.at).where(failures.c.who == one).order_by(failures.c.at.desc())
                limit = _MAX_FAILURES[one.partition(":")[0]]
                # The one whose end of life makes room again.
                if (blocking := connection.scalar(at.offset(limit - 1).limit(1))) is not None:
                    free_at = datetime.fromisoformat(blocking) + _FAILURE_WINDOW
                    seconds = max(1, math.ceil((free_at - datetime.now(UTC)).total_seconds()))
                    raise TooMany(
                        "Too many failed sign-ins. Wait {minutes} min, then try again.",
                        minutes=math.ceil(seconds / 60),
                        seconds=seconds,
                    )
            rows: list[int] = []
            for one in who:
                made = connection.execute(failures.insert().values(who=one, at=schema.now())).inserted_primary_key
                assert made is not None
                rows.append(made[0])
            return rows

    # --- sessions ---------------------------------------------------------------------------------------------

    @staticmethod
    def _new_session(connection: sa.Connection, user_id: int) -> str:
        token = secrets.token_urlsafe(32)
        sessions = schema.sessions
        connection.execute(sessions.delete().where(sessions.c.expires_at < schema.now()))
        connection.execute(
            sessions.insert().values(
                token_hash=hashed(token),
                user_id=user_id,
                csrf_token=secrets.token_urlsafe(32),
                created_at=schema.now(),
                expires_at=from_now(_SESSION_LIFE),
            )
        )
        return token

    def session(self, token: str) -> Session | None:
        """The session that a cookie's token stands for; None when it is unknown, ended or expired."""
        sessions = schema.sessions.c
        query = (
            _users()
            .add_columns(sessions.csrf_token, sessions.expires_at)
            .join(schema.sessions, sessions.user_id == schema.users.c.id)
            .where(sessions.token_hash == hashed(token), sessions.expires_at > schema.now())
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return Session(user=_user(row), csrf_token=row.csrf_token, expires_at=row.expires_at)

    def logout(self, token: str) -> None:
        """Ends a session."""
        with self._database.write() as connection:
            connection.execute(schema.sessions.delete().where(schema.sessions.c.token_hash == hashed(token)))

    @staticmethod
    def check_csrf(session: Session, given: str) -> None:
        """Raises NotAllowed unless the request brought the session's CSRF token."""
        if not hmac.compare_digest(session.csrf_token.encode(), given.encode("utf-8", "replace")):
            raise NotAllowed("The request lacks the session's CSRF token. Load the page again.")

    # --- API keys ---------------------------------------------------------------------------------------------

    def create_key(self, name: str, user: User | None = None, **what: Any) -> tuple[Key, str]:
        """A key that may do what the user may, the owner when none is given; and its secret, known this once only.

        `what` makes it less: `scopes`, `models`, `expires_at`, `uncached` of `Keys.create`. Raises UserError for what
        is no good.
        """
        return self._keys.create(name, (user or self.owner()).id, **what)

    def keys(self) -> Sequence[Key]:
        """Every key, revoked ones included, the oldest first."""
        return self._keys.list()

    def revoke_key(self, key: str | int) -> Key:
        """As `Keys.revoke` says."""
        return self._keys.revoke(key)

    def rotate_key(self, key: str | int, grace: timedelta = timedelta(0)) -> tuple[Key, str]:
        """As `Keys.rotate` says."""
        return self._keys.rotate(key, grace)

    def key_holder(self, secret: str) -> KeyHolder | None:
        """Whom a key speaks for and what it may; None when it is unknown, revoked or over."""
        found = self._keys.find(secret)
        return None if found is None else KeyHolder(User(**found.user), found)

    def known_key(self, secret: str) -> KeyHolder | None:
        """The same in microseconds, where it was found before and nothing was written since; None: ask `key_holder`."""
        found = self._keys.known(hashed(secret))
        if found is None or not found.is_fresh():
            return None
        return KeyHolder(User(**found.user), found)

    def user_of_key(self, secret: str) -> User | None:
        """Whom a key speaks for; None when it is unknown, revoked or over."""
        holder = self.key_holder(secret)
        return None if holder is None else holder.user


def _network(address: str) -> str:
    """What failures are counted by: an IPv4 address, or the /64 that one household has of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100].replace("\0", "")
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _stale_link() -> NotSignedIn:
    return NotSignedIn("This link has been used, has expired or was replaced by a newer one. Ask for a new one.")


def _users() -> sa.Select[*tuple[Any, ...]]:
    users = schema.users.c
    return sa.select(
        users.id, users.name, users.role, users.created_at, users.password_hash.is_not(None).label("has_password")
    )


def _user(row: Any) -> User:
    return User(**{field: getattr(row, field) for field in User.model_fields})
