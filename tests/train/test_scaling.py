"""The scaling study: the fit finds a law that is there, and its interval holds the truth."""

import random
import xml.etree.ElementTree as ET

import pytest

from dizuo.core.errors import UserError
from dizuo.train import scaling
from dizuo.train.plot import scaling_plot
from dizuo.train.scaling import Law, Point, fit, interval

TRUTH = Law(irreducible=1.8, a=60.0, alpha=0.35, b=400.0, beta=0.38)


def points(noise: float) -> list[Point]:
    chance = random.Random(3)
    return [
        Point(n, d, TRUTH.loss(n, d) * (1 + noise * chance.gauss(0, 1)))
        for n in (10_000, 40_000, 100_000, 300_000)
        for d in (200_000, 400_000, 800_000)
    ]


def test_the_fit_predicts_a_larger_model_of_a_known_law() -> None:
    found = fit(points(0.0))
    assert found.loss(1_200_000, 1_600_000) == pytest.approx(TRUTH.loss(1_200_000, 1_600_000), rel=0.005)


def test_the_interval_of_noisy_points_holds_the_truth_and_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_RESAMPLES", 8)
    low, high = interval(points(0.004), 1_200_000, 1_600_000)
    assert low < TRUTH.loss(1_200_000, 1_600_000) < high
    assert high - low < 0.5


def test_too_few_models_are_refused() -> None:
    with pytest.raises(UserError, match="at least five models, and there are 4"):
        fit(points(0.0)[:4])


def test_the_plot_is_an_svg_with_a_point_for_every_model() -> None:
    larger = {"parameters": 1_200_000, "tokens": 1_600_000, "predicted": 3.0, "interval": [2.9, 3.1], "measured": 3.02}
    drawn = scaling_plot({"points": [vars(point) for point in points(0.0)], "larger": larger}, TRUTH.loss)
    root = ET.fromstring(drawn)
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 12
