"""Keys for the API: secrets that speak for a user, for what they are meant for, until they end.

A key is found by one indexed read. On SQLite not even that is needed as long as nothing was written to the database
since (`Database.version`): a key that another process revokes or changes still stops working at once.
"""

import contextlib
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.platform import schema
from dizuo.platform.database import Database
from dizuo.platform.secrets_kept import checked_name, from_now, hashed

Scope = Literal["all", "models", "read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

MAX_GRACE = timedelta(days=30)
_USE_GRAIN = timedelta(minutes=1)  # how exactly last_used_at is kept: a read must not cost a write each time
_MARK = "dz-"
_PREFIX_LENGTH = 11  # of a key, shown in lists: the mark and 48 of its 256 bits
_MOST_FOUND = 1_000  # keys in memory
_MOST_MODELS = 50


class Key(Noun):
    """An API key without its secret part. `prefix` is how it begins."""

    id: int
    name: str
    prefix: str
    user: str  # the name of whom it speaks for
    created_at: datetime
    last_used_at: datetime | None  # to the minute
    revoked_at: datetime | None
    expires_at: datetime | None = None
    scopes: tuple[Scope, ...] | None = None  # None: for all that the user may do
    models: tuple[str, ...] | None = None  # patterns of the models that it may ask; None: all
    uncached: bool = False  # neither given kept answers nor are its own kept
    old_until: datetime | None = None  # until then the secret before the last rotation works as well

    @property
    def restricted(self) -> bool:
        """Whether it may do less than its user, or ends by itself."""
        return self.scopes is not None or self.models is not None or self.expires_at is not None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """What a secret opens: the key's row with its user's."""

    id: int
    user: Any  # the columns of a user, by name
    scopes: tuple[Scope, ...] | None
    models: tuple[str, ...] | None
    uncached: bool
    restricted: bool
    good_until: str  # as the tables keep times; "" for good
    used_at: str

    def may(self, scope: Scope) -> bool:
        """Whether it may be used for that."""
        return self.scopes is None or scope in self.scopes

    def is_fresh(self) -> bool:
        """Whether its time goes on, and its use was noted lately."""
        return (not self.good_until or self.good_until > schema.now()) and self.used_at >= from_now(-_USE_GRAIN)


class Keys:
    """The keys of an instance. Blocking; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._version: int | None = None
        self._found: dict[str, FoundKey | None] = {}

    def create(
        self,
        name: str,
        user_id: int,
        *,
        scopes: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        uncached: bool = False,
    ) -> tuple[Key, str]:
        """A key, and its secret, known this once only. Raises UserError for what is no good."""
        secret = _MARK + secrets.token_urlsafe(32)
        values: dict[str, Any] = {
            "name": checked_name(name),
            "prefix": secret[:_PREFIX_LENGTH],
            "key_hash": hashed(secret),
            "user_id": user_id,
            "created_at": schema.now(),
            "scopes": _checked_scopes(scopes),
            "models": _checked_models(models),
            "expires_at": _checked_end(expires_at),
            "uncached": uncached,
        }
        with self._database.write() as connection:
            if (number := schema.unused_id(connection, schema.api_keys, "key_id")) is not None:
                values["id"] = number
            made = connection.execute(schema.api_keys.insert().values(**values)).inserted_primary_key
            assert made is not None
            return _key(connection.execute(_keys().where(schema.api_keys.c.id == made[0])).one()), secret

    def list(self) -> Sequence[Key]:
        """Every key, revoked ones included, the oldest first."""
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(_keys().order_by(schema.api_keys.c.id))]

    def revoke(self, key: str | int) -> Key:
        """Makes a key useless at once; by its id, or by how it begins.

        A key that is revoked already stays as it is. Raises NotFound, and Conflict when several begin like that.
        """
        with self._database.write() as connection:
            of_key = schema.api_keys.c.id == _match(connection, key).id
            revoke = schema.api_keys.update().where(of_key, schema.api_keys.c.revoked_at.is_(None))
            connection.execute(revoke.values(revoked_at=schema.now(), old_hash=None, old_until=None))
            return _key(connection.execute(_keys().where(of_key)).one())

    def rotate(self, key: str | int, grace: timedelta = timedelta(0)) -> tuple[Key, str]:
        """A new secret for the key, which is the same otherwise; the old one works on for the time of `grace`.

        The secret before the old one ends at once. Raises NotFound, UserError for a grace beyond 30 days, and Conflict
        for a key that has ended.
        """
        if not timedelta(0) <= grace <= MAX_GRACE:
            raise UserError("The old key can work on for {days} days at most.", days=MAX_GRACE.days)
        secret = _MARK + secrets.token_urlsafe(32)
        keys = schema.api_keys
        with self._database.write() as connection:
            found = _match(connection, key)
            if found.revoked_at is not None or (found.expires_at and found.expires_at <= datetime.now(UTC)):
                raise Conflict("The key {name!r} has ended. Make a new one: dizuo key create", name=found.name)
            old: dict[str, Any] = {"old_hash": None, "old_until": None}
            if grace:
                old = {"old_hash": keys.c.key_hash, "old_until": from_now(grace)}
            new = {"key_hash": hashed(secret), "prefix": secret[:_PREFIX_LENGTH]}
            connection.execute(keys.update().where(keys.c.id == found.id).values(**old, **new))
            return _key(connection.execute(_keys().where(keys.c.id == found.id)).one()), secret

    def find(self, secret: str) -> FoundKey | None:
        """What a secret opens; None when it is unknown, revoked or over."""
        digest = hashed(secret)
        found = self.known(digest)
        if found is None:
            version = self._database.version()  # before the read: what is written meanwhile makes it out of date
            with self._database.read() as connection:
                row = connection.execute(_FIND, {"digest": digest}).first()
                rotated = row is None
                if rotated:
                    row = connection.execute(_FIND_OLD, {"digest": digest}).first()
            if row is None:  # not kept: whoever guesses must not fill the memory
                return None
            found = _found(row, rotated)
            self._keep(digest, found, version)
        now = schema.now()
        if found.good_until and found.good_until <= now:
            return None
        if found.used_at < from_now(-_USE_GRAIN):
            self._note_use(found.id, now)
        return found

    def known(self, digest: str) -> FoundKey | None:
        """What a secret with that SHA-256 opens, where it was found before and nothing was written since.

        Takes microseconds. Whether its time is over is for the caller to see.
        """
        with self._lock:
            if not self._found:
                return None
            if self._database.version() != self._version:
                self._found.clear()
                return None
            return self._found.get(digest)

    def _keep(self, digest: str, found: FoundKey, version: int | None) -> None:
        if version is None:
            return
        with self._lock:
            if version != self._version or len(self._found) >= _MOST_FOUND:
                self._found.clear()
                self._version = version
            self._found[digest] = found

    def _note_use(self, key_id: int, now: str) -> None:
        # A full disk or a long writer must not turn a reader away.
        with contextlib.suppress(OperationalError), self._database.write() as connection:
            connection.execute(schema.api_keys.update().where(schema.api_keys.c.id == key_id).values(last_used_at=now))


def _lookup(column: Any, *also: Any) -> sa.Select[*tuple[Any, ...]]:
    keys, users = schema.api_keys.c, schema.users.c
    return (
        sa.select(
            users.id, users.name, users.role, users.created_at, users.password_hash.is_not(None).label("has_password"),
            keys.id.label("key_id"), keys.last_used_at, keys.expires_at, keys.scopes, keys.models, keys.uncached,
            keys.old_until,
        )
        .join(schema.api_keys, keys.user_id == users.id)
        .where(column == sa.bindparam("digest"), keys.revoked_at.is_(None), *also)
    )  # fmt: skip


# Built once: putting a statement together takes longer than running it.
_FIND = _lookup(schema.api_keys.c.key_hash)
_FIND_OLD = _lookup(schema.api_keys.c.old_hash)


def _found(row: Any, rotated: bool) -> FoundKey:
    ends = [one for one in (row.expires_at, row.old_until if rotated else None) if one]
    user = {name: getattr(row, name) for name in ("id", "name", "role", "created_at", "has_password")}
    return FoundKey(
        id=row.key_id,
        user=user,
        scopes=None if row.scopes is None else tuple(row.scopes),
        models=None if row.models is None else tuple(row.models),
        uncached=row.uncached,
        restricted=row.scopes is not None or row.models is not None or row.expires_at is not None,
        good_until=min(ends, default=""),
        used_at=row.last_used_at or "",
    )


def _match(connection: sa.Connection, key: str | int) -> Key:
    given = str(key).strip()
    everyone = [_key(row) for row in connection.execute(_keys().order_by(schema.api_keys.c.id))]
    if given.isdecimal():
        matches = [one for one in everyone if one.id == int(given)]
    elif len(given) > len(_MARK):
        matches = [one for one in everyone if one.prefix.startswith(given[:_PREFIX_LENGTH])]
    else:
        matches = []
    matches = [one for one in matches if one.revoked_at is None] or matches[:1]
    if not matches:
        raise NotFound("No key has the id {key!r} or begins with it. List them: dizuo key list", key=given[:80])
    if len(matches) > 1:
        prefixes = ", ".join(one.prefix for one in matches)
        raise Conflict("Several keys begin with {key!r}: {prefixes}. Give the id.", key=given, prefixes=prefixes)
    return matches[0]


def _checked_scopes(scopes: Sequence[str] | None) -> list[Scope] | None:
    if scopes is None:
        return None
    known: list[Scope] = [one for one in SCOPES if one in scopes]
    unknown = [one for one in scopes if one not in SCOPES]
    if unknown or not known:
        raise UserError(
            "{scope!r} is no scope of a key. There are: {known}.",
            scope=(unknown or [""])[0][:40],
            known=", ".join(SCOPES),
        )
    return None if "all" in known else known


def _checked_models(models: Sequence[str] | None) -> list[str] | None:
    if models is None:
        return None
    patterns = list(dict.fromkeys(one.strip() for one in models))
    for pattern in patterns:
        if not 1 <= len(pattern) <= 128 or not pattern.isprintable() or "[" in pattern or "?" in pattern:
            raise UserError(
                "{model!r} is neither a model's name nor a pattern such as openai/* (1 to 128 characters).",
                model=pattern[:140],
            )
    if not 1 <= len(patterns) <= _MOST_MODELS:
        raise UserError("A key takes 1 to {most} patterns of models.", most=_MOST_MODELS)
    return patterns


def _checked_end(end: datetime | None) -> str | None:
    if end is None:
        return None
    at = end.astimezone(UTC)
    if at <= datetime.now(UTC):
        raise UserError("A key cannot end in the past ({end}).", end=f"{at:%Y-%m-%d %H:%M} UTC")
    return at.isoformat(timespec="microseconds")


def _keys() -> sa.Select[*tuple[Any, ...]]:
    keys, users = schema.api_keys.c, schema.users.c
    columns = [getattr(keys, field) for field in Key.model_fields if field != "user"]
    return sa.select(*columns, users.name.label("user")).join(schema.users, users.id == keys.user_id)


def _key(row: Any) -> Key:
    return Key(**{field: getattr(row, field) for field in Key.model_fields})
