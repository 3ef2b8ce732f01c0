"""A small scaling study: tiny models, a law fitted to them, a larger one predicted and then measured.

    python -m dizuo.train.scaling FOLDER [--recipe scaling] [--set key=value]…

Hoffmann et al. 2022 (Chinchilla), approach 3: L(N, D) = E + A/N^α + B/D^β (eq. 2), fitted by Huber loss on the
logarithm (eq. 3). N counts the weights without the embedding (as Kaplan et al. 2020), D tokens.
"""

import argparse
import itertools
import json
import logging
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dizuo.core.errors import UserError
from dizuo.train.distributed import join_world
from dizuo.train.loop import train
from dizuo.train.plot import scaling_plot
from dizuo.train.recipe import Recipe, load_recipe
from dizuo.train.run_folder import RunFolder, write_whole
from dizuo.train.stage import stage_class

_log = logging.getLogger(__name__)

_DELTA = 1e-3  # of the Huber loss (Hoffmann et al. 2022, appendix D.2)
_RESAMPLES = 200
_EXPONENTS = tuple(n / 20 for n in range(2, 21))
_INTERVAL = 0.9


@dataclass(frozen=True)
class Point:
    """One trained model: weights without the embedding, tokens seen, held-out loss in nats a token."""

    parameters: int
    tokens: int
    loss: float


@dataclass(frozen=True)
class Law:
    """L(N, D) = irreducible + a/N^alpha + b/D^beta."""

    irreducible: float
    a: float
    alpha: float
    b: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Predicted held-out loss in nats a token."""
        return self.irreducible + self.a / parameters**self.alpha + self.b / tokens**self.beta


def fit(points: Sequence[Point]) -> Law:
    """The law that is nearest to the points. Raises UserError for fewer points than it has numbers."""
    if len(points) < 5:
        raise UserError("A scaling law of five numbers needs at least five models, and there are {n}.", n=len(points))
    return _fit_from(points, _start(points))


def interval(points: Sequence[Point], parameters: int, tokens: int, seed: int = 0) -> tuple[float, float]:
    """What 90 % of the laws predict that are fitted to points drawn again with replacement (bootstrap)."""
    chance = random.Random(seed)  # noqa: S311  # a sample, no secret
    best = _logs(fit(points))
    predicted = []
    while len(predicted) < _RESAMPLES:
        drawn = chance.choices(points, k=len(points))
        if len({point.parameters for point in drawn}) < 3 or len({point.tokens for point in drawn}) < 3:
            continue  # says nothing about one of the two exponents
        predicted.append(_fit_from(drawn, best).loss(parameters, tokens))
    predicted.sort()
    cut = round((1 - _INTERVAL) / 2 * _RESAMPLES)
    return predicted[cut], predicted[-1 - cut]


def _start(points: Sequence[Point]) -> tuple[float, ...]:
    """log A, α, log B, β, log E to begin from. With α and β fixed the law is linear in the other three: of a grid of
    exponents, the best by least squares of relative errors. Saves the many starts that Hoffmann et al. need."""
    sizes, tokens, losses = (
        torch.tensor([getattr(point, name) for point in points], dtype=torch.float64)
        for name in ("parameters", "tokens", "loss")
    )
    best, found = math.inf, (0.0, 0.3, 0.0, 0.3, 0.0)
    for alpha, beta in itertools.product(_EXPONENTS, _EXPONENTS):
        terms = torch.stack([torch.ones_like(sizes), sizes**-alpha, tokens**-beta], dim=1) / losses[:, None]
        e, a, b = torch.linalg.lstsq(terms, torch.ones_like(losses)).solution.clamp(min=1e-3).tolist()
        error = float((terms @ torch.tensor([e, a, b], dtype=torch.float64) - 1).square().sum())
        if error < best:
            best, found = error, (math.log(a), alpha, math.log(b), beta, math.log(e))
    return found


def _logs(law: Law) -> tuple[float, ...]:
    return math.log(law.a), law.alpha, math.log(law.b), law.beta, math.log(law.irreducible)


def _fit_from(points: Sequence[Point], start: Sequence[float]) -> Law:
    """The law at the bottom of the valley around `start`, by L-BFGS."""
    sizes = torch.tensor([point.parameters for point in points], dtype=torch.float64).log()
    seen = torch.tensor([point.tokens for point in points], dtype=torch.float64).log()
    logs = torch.tensor([point.loss for point in points], dtype=torch.float64).log()
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def huber() -> torch.Tensor:
        log_a, alpha, log_b, beta, log_e = x
        terms = torch.stack([log_a - alpha * sizes, log_b - beta * seen, log_e.expand_as(sizes)])
        return torch.nn.functional.huber_loss(terms.logsumexp(0), logs, delta=_DELTA, reduction="sum") * 1e4

    def closure() -> torch.Tensor:
        search.zero_grad()
        value = huber()
        value.backward()
        return value

    search.step(closure)  # pyright: ignore[reportArgumentType]
    log_a, alpha, log_b, beta, log_e = x.detach().tolist()
    return Law(math.exp(log_e), math.exp(log_a), alpha, math.exp(log_b), beta)


@dataclass(frozen=True)
class Study:
    """Which models are trained: each of the sizes on each of the step counts, and the one that is predicted."""

    sizes: tuple[tuple[int, int], ...] = ((32, 1), (48, 2), (64, 2), (96, 3))  # (channels, layers)
    steps: tuple[int, ...] = (100, 200, 400)
    larger: tuple[int, int] = (160, 4)
    larger_steps: int = 800


def run_study(recipe: Recipe, folder: Path, study: Study) -> dict[str, Any]:
    """Trains the series, predicts the larger model, trains it, and returns all numbers (also in `scaling.json`).

    Models that are in the folder already are not trained again, so a study that was stopped goes on.
    """
    points = [
        _trained(recipe, folder, channels, layers, steps) for steps in study.steps for channels, layers in study.sizes
    ]
    law = fit(points)
    (channels, layers), steps = study.larger, study.larger_steps
    place, sized = _place(recipe, folder, channels, layers, steps)
    parameters = _count(sized, place)
    tokens = steps * recipe.batch * recipe.accumulate * recipe.length
    low, high = interval(points, parameters, tokens)
    predicted = law.loss(parameters, tokens)
    _log.info("predicted for %d weights and %d tokens: %.4f (%.4f to %.4f)", parameters, tokens, predicted, low, high)
    measured = _trained(recipe, folder, channels, layers, steps)
    result = {
        "points": [asdict(point) for point in points],
        "law": asdict(law),
        "larger": {"parameters": parameters, "tokens": measured.tokens, "predicted": predicted, "interval": [low, high],
                   "measured": measured.loss},
    }  # fmt: skip
    write_whole(folder / "scaling.json", json.dumps(result, indent=1).encode())
    write_whole(folder / "scaling.svg", scaling_plot(result, law.loss).encode())
    return result


def _place(recipe: Recipe, folder: Path, channels: int, layers: int, steps: int) -> tuple[RunFolder, Recipe]:
    model = replace(recipe.model, channels=channels, layers=layers, heads=max(1, channels // 32), hidden=None)
    sized = replace(
        recipe, model=model, steps=steps, evaluate_every=steps, checkpoint_every=steps, warmup=min(20, steps // 10)
    )
    return RunFolder(folder / f"{channels}x{layers}-{steps}"), sized


def _count(recipe: Recipe, place: RunFolder) -> int:
    stage = stage_class(recipe.stage)()
    stage.prepare(recipe, place.work)
    model = stage.model(recipe)
    embeddings = {id(w) for m in model.modules() if isinstance(m, torch.nn.Embedding) for w in m.parameters()}
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in embeddings)


def _trained(recipe: Recipe, folder: Path, channels: int, layers: int, steps: int) -> Point:
    place, sized = _place(recipe, folder, channels, layers, steps)
    if not (place.model / "config.json").is_file():
        stage = stage_class(sized.stage)()
        stage.prepare(sized, place.work)
        train(sized, stage, place, join_world(), lambda: False)
    last = place.metrics()[-1]
    point = Point(_count(sized, place), last["tokens"], last["val_loss"])
    _log.info("%d weights, %d tokens: %.4f", point.parameters, point.tokens, point.loss)
    return point


def main(arguments: Sequence[str]) -> int:
    """Runs the study of a recipe in a folder and prints the prediction beside the measured loss."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.train.scaling")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", default="scaling")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    told = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("dizuo.train.loop").setLevel(logging.WARNING)
    try:
        result = run_study(load_recipe(told.recipe, told.set), told.folder, Study())
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    larger = result["larger"]
    low, high = larger["interval"]
    print(f"predicted {larger['predicted']:.4f} ({low:.4f} to {high:.4f}), measured {larger['measured']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
