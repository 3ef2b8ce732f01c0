"""What a folder of a model tells people: its sentence in the catalogue, its card, its scores."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.gateway.local_folders import HUB_PREFIX, LocalFolder, count

_CARD_CHARS = 100_000  # several times as long as real ones


def read_card(path: Path) -> str:
    """README.md of a folder: Markdown of whoever made it. Empty where there is none; a long one is cut."""
    folder = path.resolve()
    file = (folder / "README.md").resolve()
    # A link in an unpacked archive must not show another file of this machine; the Hugging Face cache links so.
    homes = [folder, folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else [folder]
    if not file.is_file() or not any(file.is_relative_to(home) for home in homes):
        return ""
    with file.open(encoding="utf-8", errors="replace") as card:
        return card.read(_CARD_CHARS)


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a nest of JSON, by their path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{path} · {key}" if path else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def made(folder: LocalFolder) -> Note:
    """What a model is and how it came about, in a sentence."""
    what = {"parameters": count(folder.parameters), "architecture": folder.architecture or "-"}
    recipe = folder.provenance.get("recipe")
    data = folder.provenance.get("data")
    named = recipe.get("name") if isinstance(recipe, dict) else None
    sets = (
        [str(one["name"]) for one in data if isinstance(one, dict) and "name" in one] if isinstance(data, list) else []
    )
    if named and sets:
        shown = ", ".join(sets[:4]) + (", …" if len(sets) > 4 else "")
        return Note(
            template="{parameters} parameters ({architecture}), trained with Dizuo by the recipe {recipe} on {data}.",
            params={**what, "recipe": str(named), "data": shown},
        )
    if folder.shipped:
        return Note(template="{parameters} parameters ({architecture}); comes with Dizuo.", params=what)
    if folder.name.startswith(HUB_PREFIX):
        return Note(
            template="{parameters} parameters ({architecture}); open weights of the hub, revision {revision}.",
            params={**what, "revision": folder.revision[:12] or "-"},
        )
    return Note(template="{parameters} parameters ({architecture}), from the folder of models.", params=what)


def measured_calls(folder: LocalFolder) -> tuple[float, float, float, int] | None:
    """How often it picks the right tool, how often with every argument right (shares, with a call held to the tools'
    schemas), how often that where it writes freely, and of how many calls; where its scores tell that:
    `python -m dizuo.evals.starter --keep`."""
    scores = folder.provenance.get("scores")
    calls = scores.get("calls BFCL") if isinstance(scores, dict) else None
    if not isinstance(calls, dict):
        return None
    n = calls.get("n")
    shares = [calls.get(key) for key in ("name", "exact", "free_exact")]
    if not (isinstance(n, int) and all(isinstance(one, int | float) and 0 <= one <= 1 for one in shares)):
        return None
    name, exact, free = (float(one) for one in shares if one is not None)
    return name, exact, free, n
