"""The plot of a scaling study as an SVG, written out: a drawing library would be one more dependency for one figure."""

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 400, 60, 150, 20, 50
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d")
_LARGER = "#e45756"


def scaling_plot(result: Mapping[str, Any], law: Callable[[float, float], float]) -> str:
    """Loss against weights (logarithmic), a line of the law for each number of tokens, points where it was measured;
    the larger model's prediction as a bar, and its measured loss on it."""
    larger = result["larger"]
    sizes = [point["parameters"] for point in result["points"]] + [larger["parameters"]]
    losses = [point["loss"] for point in result["points"]] + [larger["measured"], *larger["interval"]]
    low, high = math.log10(min(sizes)) - 0.1, math.log10(max(sizes)) + 0.1
    bottom, top = min(losses) - 0.1, max(losses) + 0.1

    def x(parameters: float) -> float:
        return _LEFT + (math.log10(parameters) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(loss: float) -> float:
        return _TOP + (top - loss) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    parts = _axes(x, y, (low, high), (bottom, top))
    rows = sorted({point["tokens"] for point in result["points"]} | {larger["tokens"]})
    for number, tokens in enumerate(rows):
        colour = _LARGER if tokens == larger["tokens"] else _COLOURS[number % len(_COLOURS)]
        curve = [10 ** (low + (high - low) * n / 60) for n in range(61)]
        line = " ".join(f"{x(n):.1f},{y(loss):.1f}" for n in curve if (loss := law(n, tokens)) < top)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [
            f'<circle cx="{x(point["parameters"]):.1f}" cy="{y(point["loss"]):.1f}" r="4" fill="{colour}"/>'
            for point in result["points"]
            if point["tokens"] == tokens
        ]
        parts.append(_text(_WIDTH - _RIGHT + 12, _TOP + 20 + 20 * number, f"{tokens / 1e6:.1f} M tokens", colour))
    at = x(larger["parameters"])
    first, last = (y(loss) for loss in larger["interval"])
    parts.append(f'<path d="M{at:.1f} {first:.1f}V{last:.1f}" stroke="{_LARGER}" stroke-width="6" opacity="0.4"/>')
    measured = y(larger["measured"])
    parts.append(f'<rect x="{at - 5:.1f}" y="{measured - 5:.1f}" width="10" height="10" fill="{_LARGER}"/>')
    parts.append(_text(_WIDTH - _RIGHT + 12, _TOP + 20 + 20 * len(rows), "■ measured", _LARGER))
    parts.append(_text(_WIDTH - _RIGHT + 12, _TOP + 40 + 20 * len(rows), "▌ predicted, 90 %", _LARGER))
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>', *parts, "</svg>", ""])


def _axes(
    x: Callable[[float], float], y: Callable[[float], float], sizes: tuple[float, float], losses: tuple[float, float]
) -> list[str]:
    floor = _HEIGHT - _BOTTOM
    parts = [f'<path d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - _RIGHT}" fill="none" stroke="#888"/>']
    for power in range(math.ceil(sizes[0]), math.floor(sizes[1]) + 1):
        parts.append(_text(x(10**power) - 12, floor + 18, f"10^{power}"))
        parts.append(f'<path d="M{x(10**power):.1f} {floor}v5" stroke="#888"/>')
    step = 0.25 if losses[1] - losses[0] < 2 else 0.5
    for n in range(math.ceil(losses[0] / step), math.floor(losses[1] / step) + 1):
        parts.append(_text(_LEFT - 36, y(n * step) + 4, f"{n * step:.2f}"))
        parts.append(f'<path d="M{_LEFT} {y(n * step):.1f}h-5" stroke="#888"/>')
    parts.append(_text((_WIDTH - _RIGHT) / 2 - 60, _HEIGHT - 12, "weights without the embedding"))
    parts.append(
        f'<text transform="translate(14 {_HEIGHT / 2 + 60}) rotate(-90)" fill="#333">held-out loss, nats a token</text>'
    )
    return parts


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(text)}</text>'
