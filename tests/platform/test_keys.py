"""Keys: what they may, how long, how they are changed; and that no process trusts what it remembers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dizuo.core.errors import Conflict, UserError
from dizuo.platform import schema
from dizuo.platform.database import Database
from dizuo.platform.identity import Identity
from tests.conftest import migrated

PAST = "2020-01-01T00:00:00.000000+00:00"


@pytest.fixture
def identity(database: Database) -> Identity:
    return Identity(database)


def set_row(database: Database, **values: str) -> None:
    with database.write() as connection:
        connection.execute(schema.api_keys.update().values(**values))


def test_a_key_knows_what_it_may(identity: Identity) -> None:
    key, secret = identity.create_key("ci", scopes=["models"], models=["local/*", "a/b"])
    holder = identity.key_holder(secret)
    assert holder is not None
    assert (holder.key.id, holder.key.models, holder.user.role) == (key.id, ("local/*", "a/b"), "owner")
    assert [holder.key.may(scope) for scope in ("models", "read", "all")] == [True, False, False]
    assert key.restricted
    plain, _secret = identity.create_key("plain", scopes=["all", "read"])
    assert (plain.scopes, plain.restricted) == (None, False)


def test_a_key_ends_at_its_time_even_where_it_was_found_before(identity: Identity, database: Database) -> None:
    _key, secret = identity.create_key("ci", expires_at=datetime.now(UTC) + timedelta(days=1))
    assert identity.user_of_key(secret) is not None
    set_row(database, expires_at=PAST)
    assert identity.user_of_key(secret) is None
    with pytest.raises(Conflict, match="has ended"):
        identity.rotate_key(1)


def test_a_rotated_key_is_the_same_key_and_the_old_secret_ends_with_its_grace(
    identity: Identity, database: Database
) -> None:
    key, first = identity.create_key("ci", models=["a/*"])
    rotated, second = identity.rotate_key(key.id, timedelta(hours=24))
    assert (rotated.id, rotated.models, rotated.name) == (key.id, ("a/*",), "ci")
    assert rotated.prefix != key.prefix
    assert [identity.user_of_key(one) is not None for one in (first, second)] == [True, True]
    set_row(database, old_until=PAST)
    assert [identity.user_of_key(one) is not None for one in (first, second)] == [False, True]
    _again, third = identity.rotate_key(key.id)
    assert [identity.user_of_key(one) is not None for one in (first, second, third)] == [False, False, True]


def test_revoking_ends_the_secret_before_the_last_as_well(identity: Identity) -> None:
    key, first = identity.create_key("ci")
    identity.rotate_key(key.id, timedelta(hours=1))
    identity.revoke_key(key.id)
    assert identity.user_of_key(first) is None


def test_what_another_process_does_to_a_key_holds_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'dizuo.db'}"
    here, there = migrated(url, tmp_path), Database(url)
    mine, others = Identity(here), Identity(there)
    key, secret = mine.create_key("ci")
    assert mine.known_key(secret) is None, "never looked up yet"
    for _n in range(2):
        assert mine.key_holder(secret) is not None
    assert mine.known_key(secret) is not None, "found without a read"
    others.revoke_key(key.id)
    assert mine.known_key(secret) is None
    assert mine.key_holder(secret) is None
    for one in (here, there):
        one.close()


def test_a_remembered_key_forgets_when_its_user_goes(tmp_path: Path) -> None:
    database = migrated(f"sqlite:///{tmp_path / 'dizuo.db'}", tmp_path)
    identity = Identity(database)
    _key, secret = identity.create_key("ci", identity.create_user("anna"))
    for _n in range(2):
        assert identity.user_of_key(secret) is not None
    identity.remove_user("anna")
    assert identity.known_key(secret) is None
    assert identity.user_of_key(secret) is None
    database.close()


def test_wrong_scopes_patterns_times_and_graces_are_refused(identity: Identity) -> None:
    for what in (
        {"scopes": ["everything"]},
        {"scopes": []},
        {"models": []},
        {"models": ["a[b"]},
        {"models": ["x"] * 3 + [""]},
        {"expires_at": datetime.now(UTC) - timedelta(seconds=1)},
    ):
        with pytest.raises(UserError):
            identity.create_key("ci", **what)
    identity.create_key("ci")
    with pytest.raises(UserError, match="30 days"):
        identity.rotate_key(1, timedelta(days=31))
