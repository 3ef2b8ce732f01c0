"""The learning rate over the steps."""

import pytest

from dizuo.train.schedule import rate


def test_wsd_rises_in_a_line_stays_and_falls_in_a_line_towards_zero() -> None:
    rates = [rate(step, 100, 10, "wsd", 0.2) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert set(rates[10:80]) == {1.0}
    assert rates[80:] == pytest.approx([1 - n / 20 for n in range(20)])
    assert rates[-1] == pytest.approx(0.05)  # the last step still teaches something


def test_cosine_falls_to_a_tenth() -> None:
    rates = [rate(step, 101, 0, "cosine", 0.2) for step in range(102)]
    assert rates[0] == 1.0
    assert rates[101] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


def test_a_decay_of_nothing_keeps_the_peak_to_the_end() -> None:
    assert rate(9, 10, 0, "wsd", 0.0) == 1.0
