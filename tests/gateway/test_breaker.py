"""The breaker of a model: when it opens, who probes, when it closes, and what is remembered."""

import threading
from random import Random

import pytest

from dizuo.core.errors import ModelBusy, ModelDown, ModelError, ModelRefused, UserError
from dizuo.gateway import breaker
from dizuo.gateway.breaker import FAILURES, WINDOW_S, Entry, Health, ModelHealth
from dizuo.gateway.remote_refusal import RequestRefused
from dizuo.platform import schema
from dizuo.platform.database import Database

DOWN = ModelDown("It is down.")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock=clock, random=Random(1))


def enter(health: Health, fingerprint: int = 0) -> Entry | None:
    return health.enter([("a/m", 1.0, fingerprint)])


def call(health: Health, error: Exception | None = None) -> None:
    entry = enter(health)
    assert entry is not None
    with entry:
        if error is None:
            entry.answered()
        else:
            assert isinstance(error, ModelError | UserError)
            entry.failed(error)


def only(health: Health) -> ModelHealth:
    (one,) = health.report()
    return one


def open_it(health: Health) -> None:
    for _ in range(FAILURES):
        call(health, DOWN)
    assert only(health).state == "open"


def test_failures_open_it_and_they_must_come_in_one_window(health: Health, clock: Clock) -> None:
    for _ in range(FAILURES * 3):
        call(health, DOWN)
        clock.now += WINDOW_S / (FAILURES - 1)
    assert only(health).state == "closed"
    clock.now += WINDOW_S
    open_it(health)
    assert enter(health) is None


def test_failures_that_are_few_among_many_answers_do_not_open_it(health: Health) -> None:
    for _ in range(FAILURES * 4):
        call(health)
        call(health)
        call(health, DOWN)
    assert only(health).state == "closed"


@pytest.mark.parametrize("error", [ModelBusy("Busy."), ModelRefused("No."), UserError("Wrong.")])
def test_busy_and_refusals_do_not_open_it(health: Health, error: ModelError) -> None:
    for _ in range(FAILURES * 2):
        call(health, error)
    assert only(health).state == "closed"


def test_after_the_cool_down_one_call_is_the_probe_and_its_first_word_closes_it(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now += 10
    assert only(health).state == "half_open"
    probe = enter(health)
    assert probe is not None
    assert enter(health) is None
    probe.answered()
    assert only(health).state == "closed"
    assert (only(health).in_flight, only(health).failures) == (1, 0)


def test_of_twenty_threads_one_probes(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now += 10
    entries: list[Entry | None] = []
    barrier = threading.Barrier(20)

    def ask() -> None:
        barrier.wait()
        entries.append(enter(health))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(entry is not None for entry in entries) == 1


def test_each_probe_that_fails_doubles_the_cool_down_up_to_a_limit(health: Health, clock: Clock) -> None:
    open_it(health)
    for cool_down_s in (10, 20, 40, 80, 120, 120):
        clock.now += cool_down_s - 0.1
        assert enter(health) is None
        clock.now += 0.1
        call(health, DOWN)


def test_a_probe_that_is_given_up_makes_room_for_another(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now += 10
    with enter(health) or pytest.fail("no probe"):
        pass  # cancelled
    assert only(health).in_flight == 0
    call(health)
    assert only(health).state == "closed"


def test_a_probe_that_is_told_to_wait_shows_that_the_model_lives(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now += 10
    call(health, ModelBusy("Busy.", retry_after_s=5))
    assert (only(health).state, health.pause_s("a/m")) == ("open", 5)
    clock.now += 5
    assert only(health).state == "closed"


def test_retry_after_is_kept_to_but_not_for_ever(health: Health, clock: Clock) -> None:
    call(health, ModelBusy("Busy.", retry_after_s=7))
    clock.now += 6.9
    assert enter(health) is None
    clock.now += 0.1
    call(health, ModelBusy("Busy.", retry_after_s=1e9))
    assert health.pause_s("a/m") == 600


def test_what_was_seen_outlives_the_process(database: Database) -> None:
    first = Health(database)
    open_it(first)
    first.close()
    later = Clock()
    second = Health(database, clock=later)
    assert (only(second).state, only(second).last_error) == ("open", only(first).last_error)
    assert enter(second) is None
    later.now += 10
    call(second)
    second.close()
    assert only(Health(database)).state == "closed"


def test_a_model_that_is_reached_elsewhere_is_another_one(health: Health) -> None:
    health.reached("a/m", 1)
    late = enter(health) or pytest.fail("not asked")
    open_it(health)
    health.reached("a/m", 1)
    assert enter(health) is None
    health.reached("a/m", 2)
    assert (only(health).state, only(health).failures, only(health).last_error) == ("closed", 0, None)
    late.failed(DOWN)
    assert (only(health).failures, only(health).in_flight) == (0, 0), "a call of the one before says nothing"
    for _ in range(FAILURES):
        (enter(health, 1) or pytest.fail("spared")).failed(DOWN)
    assert only(health).state == "closed", "nor do those of whoever still holds the one before"
    assert enter(health) is not None


def test_a_model_that_is_reached_elsewhere_stays_another_one_after_a_restart(database: Database) -> None:
    first = Health(database)
    first.reached("a/m", 1)
    open_it(first)
    first.reached("a/m", 2)
    first.close()
    second = Health(database)
    second.reached("a/m", 2)
    assert enter(second) is not None


def test_what_was_seen_before_the_machine_started_holds_up_no_one(database: Database) -> None:
    first = Health(database)
    open_it(first)
    first.close()
    with database.write() as connection:
        connection.execute(schema.model_health.update().values(open_until="2026-01-01T00:00:00.000000+00:00"))
    booted = Clock()
    booted.now = 30.0  # seconds since the machine was started
    later = Health(database, clock=booted)
    assert only(later).state == "half_open"
    call(later)
    assert only(later).state == "closed"
    open_it(later)
    assert only(later).state == "open"
    later.close()


def test_names_that_callers_make_up_do_not_fill_the_memory(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "_MOST_MODELS", 10)
    open_it(health)
    for number in range(100):
        entry = health.enter([(f"a/made-up-{number}", 1.0, 0)])
        assert entry is not None
        with entry:
            entry.failed(ModelRefused("There is no such model."))
    assert len(health.report()) <= 11
    assert health.pause_s("a/m") is None


def test_what_a_provider_says_of_one_request_is_told_to_nobody_else(health: Health) -> None:
    call(health, RequestRefused("{host} refused the request. It said: {detail}", host="x", detail="my secret plan"))
    assert only(health).last_error is None
    for _ in range(FAILURES):
        call(health, ModelDown("It failed at {detail}", detail="my secret plan"))
    assert "secret" not in str(health.refusal(["a/m"]))
    assert "secret" in str(only(health).last_error)  # for the owner
