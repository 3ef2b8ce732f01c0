"""The settings: one table of name, type, default, environment variable and a sentence.

Default < file (`DIZUO_HOME/config.toml`) < environment < flag. Validation, `dizuo config show` and the docs
page come from the same table. Only `wiring.py` reads the environment; it hands the mapping in here.
"""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import platformdirs

from dizuo.core.errors import UserError
from dizuo.core.messages import Noun
from dizuo.platform.catalogue import _
from dizuo.platform.home_lock import server_address

_MASK = "********"
_PASSWORD_IN_URL = re.compile(r"(://[^:/@\s]*:)[^@\s]+(@)")

Source = Literal["default", "file", "environment", "flag"]


def _setting(default: Any, env: str, help: str, *, choices: tuple[str, ...] = (), secret: bool = False) -> Any:
    return field(default=default, metadata={"env": env, "help": help, "choices": choices, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """Every setting of the server and the command line."""

    home: Path
    host: str = _setting("127.0.0.1", "DIZUO_HOST", _("address the server binds to; loopback unless you say otherwise"))
    port: int = _setting(8000, "DIZUO_PORT", _("TCP port of the server"))
    allowed_hosts: str = _setting(
        "",
        "DIZUO_ALLOWED_HOSTS",
        _("further host names that the server answers to, comma-separated, such as a proxy's"),
    )
    database_url: str = _setting("", "DIZUO_DATABASE_URL", _("SQLAlchemy URL; empty: SQLite in DIZUO_HOME/dizuo.db"))
    data: str = _setting("", "DIZUO_DATA", _("folder with data sets for training, tests and benchmarks"))
    language: str = _setting(
        "auto",
        "DIZUO_LANGUAGE",
        _("language of messages; auto follows the terminal or browser"),
        choices=("auto", "en", "zh"),
    )
    model: str = _setting(
        "", "DIZUO_MODEL", _("chat model that writes answers, provider/name; empty: answers are quotations")
    )
    model_base_url: str = _setting(
        "", "DIZUO_MODEL_BASE_URL", _("OpenAI-compatible endpoint of that model, such as http://127.0.0.1:11434/v1")
    )
    model_api_key: str = _setting("", "DIZUO_MODEL_API_KEY", _("key for that endpoint"), secret=True)
    secret_key: str = _setting(
        "",
        "DIZUO_SECRET_KEY",
        _("key that encrypts the keys of providers; empty: the file secret.key in DIZUO_HOME, made when first needed"),
        secret=True,
    )
    hub: str = _setting(
        "",
        "DIZUO_HUB",
        _("where open weights come from, such as https://hf-mirror.com; empty: HF_ENDPOINT, else huggingface.co"),
    )
    moderator: str = _setting("", "DIZUO_MODERATOR", _("model for /v1/moderations where a request names none"))
    embedder: str = _setting("local/minilm", "DIZUO_EMBEDDER", _("embedding model; empty: keyword search only"))
    fetch_allow: str = _setting(
        "",
        "DIZUO_FETCH_ALLOW",
        _(
            "the only hosts that agents read pages of, comma-separated, without asking first; empty: any public one, "
            "and people are asked"
        ),
    )
    approval_hours: int = _setting(
        168,
        "DIZUO_APPROVAL_HOURS",
        _("hours for which a question of an agent waits for people, then it counts as refused; 0: for ever"),
    )
    public_url: str = _setting(
        "",
        "DIZUO_PUBLIC_URL",
        _("address at which people reach this instance, for links that are sent out; empty: that of host and port"),
    )
    max_file_mb: int = _setting(100, "DIZUO_MAX_FILE_MB", _("largest single file that is read, in MiB"))
    max_archive_mb: int = _setting(1000, "DIZUO_MAX_ARCHIVE_MB", _("most that one archive may unpack to, in MiB"))
    log_level: str = _setting(
        "info", "DIZUO_LOG_LEVEL", _("least severe log line written"), choices=("debug", "info", "warning", "error")
    )
    log_format: str = _setting("text", "DIZUO_LOG_FORMAT", _("how log lines look"), choices=("text", "json"))
    otlp_endpoint: str = _setting(
        "", "DIZUO_OTLP_ENDPOINT", _("OTLP/HTTP collector for OpenTelemetry spans; empty: off")
    )
    trace_days: int = _setting(14, "DIZUO_TRACE_DAYS", _("days for which traces of requests are kept; 0: none are"))
    trace_count: int = _setting(100_000, "DIZUO_TRACE_COUNT", _("most traces that are kept; the oldest go first"))
    trace_texts: str = _setting(
        "off",
        "DIZUO_TRACE_TEXTS",
        _("whether traces keep prompts and answers, and send them to the collector"),
        choices=("off", "on"),
    )
    cache: str = _setting(
        "off",
        "DIZUO_CACHE",
        _("whether answers are kept for whoever asks the same again: in the same words, or also in others"),
        choices=("off", "exact", "semantic"),
    )
    cache_ttl_s: int = _setting(86_400, "DIZUO_CACHE_TTL_S", _("seconds for which an answer is kept"))
    cache_mb: int = _setting(
        256, "DIZUO_CACHE_MB", _("most that kept answers take, in MiB; the longest unused go first")
    )
    currency: str = _setting(
        "USD",
        "DIZUO_CURRENCY",
        _("currency of budgets that name none, and of sums over several"),
        choices=("USD", "CNY"),
    )
    cny_per_usd: str = _setting(
        "7.1 2025-09-30", "DIZUO_CNY_PER_USD", _("yuan for a US dollar, and the day of that rate; nothing is looked up")
    )

    def resolved_public_url(self) -> str:
        """Where people reach this instance: as is set, else at its running server, else where one would listen."""
        return self.public_url.rstrip("/") or server_address(self.home) or address(self.host, self.port)

    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'dizuo.db'}"


class ShownSetting(Noun):
    """A setting as it may be shown: keys, and passwords inside addresses, are masked."""

    name: str
    value: int | str
    source: Source
    environment: str
    help: str


@dataclass(frozen=True)
class LoadedSettings:
    values: Settings
    sources: Mapping[str, Source]  # setting name -> where its value came from


def shown(values: Settings, sources: Mapping[str, Source]) -> list[ShownSetting]:
    """The rows of the table with their values, for people."""
    return [
        ShownSetting(
            name=f.name,
            value=_masked(getattr(values, f.name), f.metadata["secret"]),
            source=sources[f.name],
            environment=f.metadata["env"],
            help=f.metadata["help"],
        )
        for f in fields()
    ]


def _masked(value: int | str, secret: bool) -> int | str:
    if secret:
        return _MASK if value else value
    return _PASSWORD_IN_URL.sub(rf"\g<1>{_MASK}\g<2>", value) if isinstance(value, str) else value


def fields() -> list[dataclasses.Field[Any]]:
    """The rows of the table, `home` apart (it says where the file is)."""
    return [f for f in dataclasses.fields(Settings) if f.name != "home"]


def load(environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Merges the four sources. Flags that are None count as not given.

    Raises UserError for an unknown name (with the nearest valid one), a wrong type or an unknown choice.
    """
    flags = {k: v for k, v in (flags or {}).items() if v is not None}
    home = Path(flags.pop("home", None) or environ.get("DIZUO_HOME") or platformdirs.user_data_dir("dizuo", False))
    home = home.expanduser().absolute()
    table = {f.name: f for f in fields()}
    merged: dict[str, tuple[Any, Source]] = {name: (f.default, "default") for name, f in table.items()}

    file = home / "config.toml"
    if file.is_file():
        try:
            content = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError("{file} is not valid TOML: {reason}", file=file, reason=error) from None
        for name, value in content.items():
            merged[_known(name, table, str(file))] = (value, "file")
    for name, f in table.items():
        if f.metadata["env"] in environ:
            merged[name] = (environ[f.metadata["env"]], "environment")
    for name, value in flags.items():
        merged[_known(name, table, "the command line")] = (value, "flag")

    values = {name: _checked(table[name], value, source) for name, (value, source) in merged.items()}
    return LoadedSettings(Settings(home=home, **values), {name: source for name, (_, source) in merged.items()})


def _known(name: str, table: Mapping[str, Any], where: str) -> str:
    if name in table:
        return name
    near = difflib.get_close_matches(name, table, n=1)
    raise UserError(
        "{where} sets {name!r}, which is not a setting. Nearest: {near}. All: dizuo config show",
        where=where,
        name=name,
        near=near[0] if near else "-",
    )


def _checked(f: dataclasses.Field[Any], value: Any, source: str) -> Any:
    if f.type in (int, "int"):
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = -1
        if isinstance(value, bool | float) or number < 0:
            raise UserError(
                "Setting {name} ({source}) must be a whole number, not {value!r}.",
                name=f.name,
                source=source,
                value=value,
            )
        return number
    if not isinstance(value, str):
        raise UserError(
            "Setting {name} ({source}) must be text, not {value!r}.", name=f.name, source=source, value=value
        )
    choices = f.metadata["choices"]
    if choices and value not in choices:
        raise UserError(
            "Setting {name} ({source}) is {value!r}; it must be one of {choices}.",
            name=f.name,
            source=source,
            value=value,
            choices=", ".join(choices),
        )
    return value


def address(host: str, port: int) -> str:
    """Where a browser on this machine reaches a server that listens there."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # every address; this one among them
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def page() -> str:
    """docs/settings.md: the table as Markdown."""
    lines = [
        "# Settings",
        "",
        "Made from the table in `src/dizuo/platform/settings.py` by `python -m dizuo.platform.settings`.",
        "",
        "Default < file (`config.toml` in `DIZUO_HOME`) < environment < flag. In the file a setting stands under its "
        "name, such as `port = 8001`. An unknown name is refused. `dizuo config show` prints every value and where it "
        "came from.",
        "",
        "`DIZUO_HOME` (flag `--home`) is the folder that holds everything; without it, the platform's data folder.",
        "",
        "| setting | environment | default | what it is |",
        "|---|---|---|---|",
    ]
    for f in fields():
        default = f"`{f.default}`" if f.default != "" else "empty"
        choices = f" (one of {', '.join(f'`{choice}`' for choice in f.metadata['choices'])})" * bool(
            f.metadata["choices"]
        )
        lines.append(f"| `{f.name}` | `{f.metadata['env']}` | {default} | {f.metadata['help']}{choices} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
