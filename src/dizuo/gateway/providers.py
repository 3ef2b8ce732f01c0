"""The providers of an instance: endpoints that speak the OpenAI protocol, by URL and key."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dizuo.core.documents import Note
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.gateway.listing import fetch_models
from dizuo.gateway.presets import Preset, presets
from dizuo.gateway.remote_address import checked_base, checked_headers
from dizuo.platform import schema
from dizuo.platform.changes import UntilChanged
from dizuo.platform.database import Database
from dizuo.platform.secrets import Secrets

RESERVED = frozenset({"local", "hf", "app", "knowledge"})  # what other models' names begin with
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_MAX_KEY = 4096

_table = schema.providers

KeySource = Literal["", "stored", "environment"]


class ProviderInfo(Noun):
    """A provider as it may be shown: never its key. One with a `problem` needs its key again."""

    name: str
    preset: str  # the entry of the catalogue, or ""
    base_url: str
    has_key: bool
    key_from: KeySource
    key_variable: str  # where a key that is not stored comes from
    models: Sequence[str] = ()  # as it listed them when last asked
    checked_at: datetime | None = None  # when that was
    created_at: datetime
    problem: Note | None = None

    @property
    def local(self) -> bool:
        preset = presets().get(self.preset)
        return preset is not None and preset.local


class ProviderTest(Noun):
    """What came of asking a provider for its models. `listed` is False where it has no such list."""

    provider: ProviderInfo
    listed: bool
    seconds: float


@dataclass(frozen=True)
class Access:
    """How a provider is reached. The key is in here: for the models alone."""

    base_url: str
    key: str
    preset: str = ""  # the entry of the catalogue, or ""

    def __repr__(self) -> str:
        return f"Access({self.base_url!r})"


class Providers:
    """Keeps providers in the database, their keys encrypted. Blocking; thread-safe."""

    def __init__(self, database: Database, secrets: Secrets, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is where keys are looked for that are not stored."""
        self._database = database
        self._secrets = secrets
        self._environment = environment or {}
        self._known = UntilChanged(database.version, self._read)

    # --- what there is ----------------------------------------------------------------------------------------

    def list(self) -> "list[ProviderInfo]":
        """Every provider, by name."""
        return [self._info(row) for row in self._read().values()]

    def get(self, name: str) -> ProviderInfo:
        """One provider. Raises NotFound with those there are."""
        self._known.forget()
        return self._info(self._row(name))

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def listed(self) -> "list[tuple[str, str]]":
        """The names of all models that the providers listed when last asked, each with its provider."""
        return [(f"{row.name}/{model}", row.name) for row in self._known.get().values() for model in row.models or ()]

    def access(self, name: str) -> Access:
        """How a provider is reached. Raises NotFound, and UserError for a key that cannot be read."""
        row = self._row(name)
        return Access(row.base_url, self._key(row), row.preset)

    # --- changes ----------------------------------------------------------------------------------------------

    def add(self, name: str, preset: str = "", base_url: str = "", key: str = "") -> ProviderInfo:
        """A new provider. With a preset, or a name that is one's, the URL may be left out.

        Raises UserError for a name, URL or key that cannot be used, NotFound for an unknown preset, Conflict for a name
        that is taken.
        """
        name = name.strip()
        if not preset and not base_url and name in presets():
            preset = name
        entry = self._preset(preset) if preset else None
        self._check_name(name)
        if entry is None and not base_url.strip():
            raise UserError(
                "Nothing says where {name!r} is reached: it is no provider of the catalogue ({known}). Give its base "
                "URL, such as http://127.0.0.1:11434/v1.",
                name=name,
                known=", ".join(presets()),
            )
        base = checked_base(base_url.strip() or (entry.base_url if entry else ""), _where(name))
        values = {
            "name": name,
            "preset": preset,
            "base_url": base,
            "key_cipher": self._cipher(name, key),
            "models": sa.null(),
            "created_at": schema.now(),
        }
        try:
            with self._database.write() as connection:
                connection.execute(_table.insert().values(values))
        except IntegrityError:
            raise Conflict(
                "There is a provider {name!r} already. Remove it first (dizuo provider remove {name}), or choose "
                "another name.",
                name=name,
            ) from None
        return self.get(name)

    def set_key(self, name: str, key: str) -> ProviderInfo:
        """Puts another key in place of the stored one; an empty one takes it away. Raises NotFound, UserError."""
        self._row(name)
        self._change(name, key_cipher=self._cipher(name, key))
        return self.get(name)

    def remove(self, name: str) -> ProviderInfo:
        """Takes a provider away, with its key. Raises NotFound."""
        info = self.get(name)
        with self._database.write() as connection:
            connection.execute(_table.delete().where(_table.c.name == name))
        self._known.forget()
        return info

    def test(self, name: str) -> ProviderTest:
        """Asks a provider for its models and keeps what it says: proof of its address and of its key.

        Raises NotFound, UserError for a key that cannot be read, and ModelError for whatever the provider does wrong.
        """
        row = self._row(name)
        preset = presets().get(row.preset)
        begun_s = time.monotonic()
        if preset is not None and not preset.lists_models:
            return ProviderTest(provider=self.get(name), listed=False, seconds=0.0)
        key = self._key(row)
        headers = checked_headers(key, {}, _where(name))
        if key and preset is not None and preset.models_headers:
            headers = {header: value.replace("{key}", key) for header, value in preset.models_headers.items()}
        names = fetch_models(row.base_url, headers, name, _where(name))
        seconds = time.monotonic() - begun_s
        self._change(name, models=list(names), checked_at=schema.now())
        return ProviderTest(provider=self.get(name), listed=True, seconds=seconds)

    # ----------------------------------------------------------------------------------------------------------

    def _change(self, name: str, **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(_table.update().where(_table.c.name == name).values(values))
        self._known.forget()

    def _read(self) -> "Mapping[str, sa.Row[Any]]":
        with self._database.read() as connection:
            return {row.name: row for row in connection.execute(_table.select().order_by(_table.c.name))}

    def _find(self, name: str) -> "sa.Row[Any] | None":
        return self._known.get(lambda rows: name not in rows).get(name)

    def _row(self, name: str) -> "sa.Row[Any]":
        row = self._find(name)
        if row is None:
            raise NotFound(
                "There is no provider {name!r}. There are: {names}. Add one: dizuo provider add NAME",
                name=name,
                names=", ".join(self._known.get()) or "-",
            )
        return row

    def _info(self, row: "sa.Row[Any]") -> ProviderInfo:
        preset = presets().get(row.preset)
        variable = preset.key_variable if preset else ""
        source: KeySource = "stored" if row.key_cipher else "environment" if self._environment.get(variable) else ""
        problem: Note | None = None
        try:
            self._key(row)
        except UserError as error:
            problem = Note.of(error)
        return ProviderInfo(
            name=row.name,
            preset=row.preset,
            base_url=row.base_url,
            has_key=bool(source),
            key_from=source,
            key_variable=variable,
            models=row.models or (),
            checked_at=row.checked_at,
            created_at=row.created_at,
            problem=problem,
        )

    def _key(self, row: "sa.Row[Any]") -> str:
        if row.key_cipher:
            try:
                return self._secrets.decrypt(row.key_cipher).decode()
            except UserError as error:
                raise UserError(
                    "The key of the provider {name} cannot be read. {reason}", name=row.name, reason=Note.of(error)
                ) from None
        preset = presets().get(row.preset)
        return self._environment.get(preset.key_variable, "").strip() if preset and preset.key_variable else ""

    def _cipher(self, name: str, key: str) -> bytes | None:
        key = key.strip()
        if not key:
            return None
        if len(key) > _MAX_KEY:
            raise UserError("The key has {n} characters; no key is that long.", n=len(key))
        checked_headers(key, {}, _where(name))
        return self._secrets.encrypt(key.encode())

    @staticmethod
    def _preset(id: str) -> Preset:
        if id not in presets():
            raise NotFound("The catalogue has no provider {id!r}. It has: {known}.", id=id, known=", ".join(presets()))
        return presets()[id]

    @staticmethod
    def _check_name(name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(
                "{name!r} cannot be a provider's name: use lower-case letters, digits, hyphens and underscores, at "
                "most 32. The names of its models begin with it.",
                name=name[:80],
            )
        if name in RESERVED:
            raise UserError(
                "The name {name!r} is taken: names of other models begin with it. Choose another.", name=name
            )


def _where(name: str) -> str:
    """What messages say of where a provider's address and key are."""
    return f"dizuo provider show {name}"
