"""Who may come in, and who may not. On SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from dizuo.core.errors import Conflict, NotAllowed, NotFound, NotSignedIn, TooMany, UserError
from dizuo.platform import passwords, schema
from dizuo.platform.database import Database
from dizuo.platform.identity import Identity

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real Argon2id takes a twentieth of a second a time, which one test below pays."""
    from argon2 import PasswordHasher

    monkeypatch.setattr(passwords.Passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def identity(database: Database) -> Identity:
    return Identity(database)


def shift_time(database: Database, column: sa.Column, to: str) -> None:
    with database.write() as connection:
        connection.execute(column.table.update().values({column: to}))


def everything_kept(database: Database) -> str:
    with database.read() as connection:
        tables = (schema.users, schema.login_links, schema.sessions, schema.api_keys)
        return str([list(connection.execute(table.select())) for table in tables])


def test_first_use_makes_one_owner_however_many_come_first(database: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        owners = list(pool.map(lambda _n: Identity(database).owner(), range(12)))
    assert {owner.id for owner in owners} == {owners[0].id}
    assert [(u.name, u.role, u.has_password) for u in Identity(database).users()] == [("owner", "owner", False)]


def test_a_one_time_link_sets_a_password_and_opens_a_session(identity: Identity) -> None:
    assert identity.owner_needs_link()
    session = identity.session(identity.redeem(identity.login_link("owner"), PASSWORD))
    assert session is not None
    assert session.user.name == "owner"
    assert not identity.owner_needs_link()
    assert identity.session(identity.login("owner", PASSWORD, "127.0.0.1")) is not None


def test_a_link_works_once_and_only_the_newest_one_works(identity: Identity) -> None:
    older, newer = identity.login_link("owner"), identity.login_link("owner")
    with pytest.raises(NotSignedIn, match="newer"):
        identity.redeem(older, PASSWORD)
    identity.redeem(newer, PASSWORD)
    with pytest.raises(NotSignedIn):
        identity.redeem(newer, "another password")


def test_a_link_ends_after_a_day(identity: Identity, database: Database) -> None:
    token = identity.login_link("owner")
    shift_time(database, schema.login_links.c.expires_at, "2020-01-01T00:00:00.000000+00:00")
    with pytest.raises(NotSignedIn, match="expired"):
        identity.redeem(token, PASSWORD)


def test_a_short_password_is_refused_and_the_link_stays_good(identity: Identity) -> None:
    token = identity.login_link("owner")
    with pytest.raises(UserError, match="10 characters"):
        identity.redeem(token, "short")
    identity.redeem(token, PASSWORD)


def test_two_who_come_with_one_link_at_once_do_not_both_get_in(identity: Identity) -> None:
    token = identity.login_link("owner")

    def come(n: int) -> bool:
        try:
            identity.redeem(token, f"{PASSWORD} {n}")
        except NotSignedIn:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(come, range(8))) == 1


def test_a_new_password_ends_every_other_session(identity: Identity) -> None:
    stolen = identity.redeem(identity.login_link("owner"), PASSWORD)
    fresh = identity.redeem(identity.login_link("owner"), "a better password")
    assert identity.session(stolen) is None
    assert identity.session(fresh) is not None
    with pytest.raises(NotSignedIn):
        identity.login("owner", PASSWORD, "127.0.0.1")


def test_a_password_is_the_same_however_it_was_composed(identity: Identity) -> None:
    identity.redeem(identity.login_link("owner"), "café 密码 １２３４")
    assert identity.login("owner", "cafe\u0301 密码 1234", "127.0.0.1")


def test_a_session_ends_with_sign_out_and_with_time(identity: Identity, database: Database) -> None:
    token = identity.redeem(identity.login_link("owner"), PASSWORD)
    other = identity.login("owner", PASSWORD, "127.0.0.1")
    identity.logout(token)
    assert identity.session(token) is None
    assert identity.session(other) is not None
    shift_time(database, schema.sessions.c.expires_at, "2020-01-01T00:00:00.000000+00:00")
    assert identity.session(other) is None


@pytest.mark.parametrize("given", ["", "wrong", "密码"])
def test_a_request_without_the_session_s_csrf_token_is_refused(identity: Identity, given: str) -> None:
    session = identity.session(identity.redeem(identity.login_link("owner"), PASSWORD))
    assert session is not None
    identity.check_csrf(session, session.csrf_token)
    with pytest.raises(NotAllowed):
        identity.check_csrf(session, given)


def test_five_failures_for_a_name_close_it_even_to_the_right_password(identity: Identity, database: Database) -> None:
    identity.redeem(identity.login_link("owner"), PASSWORD)
    for n in range(5):
        with pytest.raises(NotSignedIn):
            identity.login("owner", "wrong password", f"10.0.0.{n}")
    with pytest.raises(TooMany, match="Wait 15 min") as refused:
        identity.login("owner", PASSWORD, "10.0.0.9")
    assert refused.value.status == 429
    shift_time(database, schema.login_failures.c.at, "2020-01-01T00:00:00.000000+00:00")
    assert identity.login("owner", PASSWORD, "10.0.0.9")
    with database.read() as connection:
        assert connection.execute(schema.login_failures.select()).all() == []


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["2001:db8::1", "2001:db8::2", "2001:db8::3"]])
def test_twenty_failures_from_an_address_close_it_whatever_the_names(identity: Identity, addresses: list[str]) -> None:
    for n in range(20):
        with pytest.raises(NotSignedIn):
            identity.login(f"somebody {n}", "wrong password", addresses[n % len(addresses)])
    with pytest.raises(TooMany):
        identity.login("yet another", "wrong password", addresses[0])
    with pytest.raises(NotSignedIn):
        identity.login("yet another", "wrong password", "10.9.9.9")


def test_guesses_sent_all_at_once_are_counted(identity: Identity) -> None:
    identity.redeem(identity.login_link("owner"), PASSWORD)

    def guess(n: int) -> type:
        try:
            identity.login("owner", f"wrong password {n}", "10.0.0.1")
        except UserError as error:
            return type(error)
        raise AssertionError

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guess, range(16)))
    assert answers.count(NotSignedIn) == 5


def test_an_unknown_name_costs_the_same_check_as_a_wrong_password(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argon2 import PasswordHasher

    checked: list[str] = []

    class Recording(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            checked.append(str(hash).rsplit("$", 2)[0])  # kind, version and cost, without salt and hash
            return super().verify(hash, password)

    monkeypatch.setattr(passwords.Passwords, "_hasher", Recording())
    identity.redeem(identity.login_link("owner"), PASSWORD)
    identity.create_user("no password yet")
    for name in ("owner", "nobody", "no password yet"):
        with pytest.raises(NotSignedIn, match="name or the password"):
            identity.login(name, "wrong password", "10.0.0.1")
    assert checked == ["$argon2id$v=19$m=65536,t=3,p=4"] * 3


def test_a_key_speaks_for_its_user_until_it_is_revoked(identity: Identity, database: Database) -> None:
    member = identity.create_user("林小满")
    key, secret = identity.create_key("scripts", member)
    assert secret.startswith(key.prefix)
    assert len(secret) > 43
    assert identity.user_of_key(secret) == member
    revoked = Identity(database).revoke_key(key.prefix)  # as another process would
    assert revoked.revoked_at is not None
    assert identity.user_of_key(secret) is None
    assert identity.revoke_key(str(key.id)) == revoked


def test_nothing_that_opens_a_door_is_kept(identity: Identity, database: Database) -> None:
    link = identity.login_link("owner")
    session = identity.redeem(link, PASSWORD)
    _key, secret = identity.create_key("scripts")
    kept = everything_kept(database)
    assert not any(each in kept for each in (link, session, secret, PASSWORD))
    assert "$argon2id$" in kept


def test_use_of_a_key_is_written_at_most_once_a_minute(identity: Identity, database: Database) -> None:
    _key, secret = identity.create_key("scripts")
    for _n in range(3):
        identity.user_of_key(secret)
    [first] = identity.keys()
    identity.user_of_key(secret)
    assert identity.keys() == [first]
    shift_time(database, schema.api_keys.c.last_used_at, "2020-01-01T00:00:00.000000+00:00")
    identity.user_of_key(secret)
    assert identity.keys()[0].last_used_at != first.last_used_at


@pytest.mark.parametrize("given", ["", "dz-", "dz", "99", "dz-nothing begins so", "' OR 1=1 --"])
def test_revoking_asks_for_a_key_that_exists(identity: Identity, given: str) -> None:
    identity.create_key("scripts")
    with pytest.raises(NotFound, match="dizuo key list"):
        identity.revoke_key(given)


def test_revoking_by_an_ambiguous_beginning_is_refused(identity: Identity, database: Database) -> None:
    for name in ("one", "two"):
        identity.create_key(name)
    shift_time(database, schema.api_keys.c.prefix, "dz-abcdefgh")
    with pytest.raises(Conflict, match="Several keys"):
        identity.revoke_key("dz-abc")
    assert identity.revoke_key("1").name == "one"
    assert identity.revoke_key("dz-abc").name == "two"  # the only one left


def test_a_member_goes_with_keys_and_sessions(identity: Identity) -> None:
    member = identity.create_user("anna")
    session = identity.redeem(identity.login_link("anna"), PASSWORD)
    _key, secret = identity.create_key("scripts", member)
    identity.remove_user("anna")
    assert identity.session(session) is None
    assert identity.user_of_key(secret) is None
    assert [user.name for user in identity.users()] == ["owner"]


def test_the_owner_cannot_be_removed_and_names_are_unique(identity: Identity) -> None:
    with pytest.raises(Conflict, match="owns"):
        identity.remove_user("owner")
    with pytest.raises(Conflict, match="exists already"):
        identity.create_user("owner")
    with pytest.raises(NotFound, match="owner"):
        identity.login_link("nobody")


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb", "a\0b"])
def test_a_name_that_cannot_be_shown_is_refused(identity: Identity, name: str) -> None:
    with pytest.raises(UserError, match="printable"):
        identity.create_user(name)
    with pytest.raises(UserError, match="printable"):
        identity.create_key(name)


def test_hostile_names_and_addresses_at_the_door_are_only_wrong(identity: Identity) -> None:
    for name, address in (
        ("x" * 10_000, "y" * 10_000),
        ("a\0b", "\0"),
        ("", ""),
        ("'; DROP TABLE users --", "::1%eth0"),
    ):
        with pytest.raises(NotSignedIn):
            identity.login(name, "wrong \udc80 password", address)
