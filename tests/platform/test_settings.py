"""Settings: default < file < environment < flag, and each says where it came from."""

from pathlib import Path

import pytest

from dizuo.core.errors import UserError
from dizuo.platform import settings
from dizuo.platform.catalogue import translate


def load(home: Path, environ: dict[str, str] | None = None, **flags: object) -> settings.LoadedSettings:
    return settings.load({"DIZUO_HOME": str(home), **(environ or {})}, flags)


def with_file(home: Path, content: str) -> Path:
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(content, "utf-8")
    return home


def test_the_later_source_wins_and_is_named(tmp_path: Path) -> None:
    home = with_file(tmp_path, 'port = 1\nhost = "file"\nlog_format = "json"\n')
    loaded = load(home, {"DIZUO_PORT": "2", "DIZUO_HOST": "environment"}, port=3)
    assert (loaded.values.port, loaded.values.host, loaded.values.log_format) == (3, "environment", "json")
    sources = [loaded.sources[name] for name in ("port", "host", "log_format", "model")]
    assert sources == ["flag", "environment", "file", "default"]


def test_a_flag_that_was_not_given_counts_for_nothing(tmp_path: Path) -> None:
    loaded = settings.load({"DIZUO_HOME": str(tmp_path)}, {"port": None, "home": None})
    assert (loaded.values.port, loaded.sources["port"], loaded.values.home) == (8000, "default", tmp_path)


def test_the_defaults_are_safe(tmp_path: Path) -> None:
    values = load(tmp_path).values
    assert (values.host, values.otlp_endpoint, values.model) == ("127.0.0.1", "", "")
    assert values.resolved_database_url() == f"sqlite:///{tmp_path}/dizuo.db"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("prot = 8000", "Nearest: port"),
        ("port = ", "not valid TOML"),
        ('port = "many"', "whole number"),
        ("port = true", "whole number"),
        ("port = -1", "whole number"),
        ("port = 8000.5", "whole number"),
        ("host = 5", "must be text"),
        ('language = "fr"', "auto, en, zh"),
        ("home = '/'", "not a setting"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load(with_file(tmp_path, content))


def test_a_bad_value_from_the_environment_names_its_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"port .environment. must be a whole number, not 'abc'"):
        load(tmp_path, {"DIZUO_PORT": "abc"})


def test_keys_and_passwords_are_never_shown(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        {"DIZUO_MODEL_API_KEY": "sk-secret", "DIZUO_DATABASE_URL": "postgresql://anna:hunter2@db/dizuo"},
    )
    shown = {row.name: row.value for row in settings.shown(loaded.values, loaded.sources)}
    assert "sk-secret" not in str(shown)
    assert shown["database_url"] == "postgresql://anna:********@db/dizuo"
    assert loaded.values.model_api_key == "sk-secret"


def test_every_setting_says_what_it_is_in_both_languages(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    for row in settings.shown(loaded.values, loaded.sources):
        assert row.environment == f"DIZUO_{row.name.upper()}"
        assert translate(row.help, "zh") != row.help
