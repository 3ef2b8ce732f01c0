"""What may be passed along to a model, checked by name."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from dizuo.core.errors import UserError


def checked_options(options: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The options that say something. Raises UserError for one that is not among the known."""
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UserError(
                "The option {name!r} cannot be passed to a model. Nearest: {near}. There are: {names}.",
                name=name,
                near=near[0] if near else "-",
                names=", ".join(sorted(known)),
            )
    return {name: value for name, value in options.items() if value is not None}
