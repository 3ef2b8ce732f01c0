"""What is kept of a secret, how long things last, and names that can be shown: for whoever lets people in."""

import hashlib
from datetime import UTC, datetime, timedelta

from dizuo.core.errors import UserError


def hashed(secret: str) -> str:
    """What is kept of a secret of 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def from_now(distance: timedelta) -> str:
    """A time that far from now, as the tables keep times."""
    return (datetime.now(UTC) + distance).isoformat(timespec="microseconds")


def checked_name(name: str) -> str:
    """The name without what surrounds it. Raises UserError for one that cannot be shown."""
    name = name.strip()
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise UserError("{name!r} is not a usable name: 1 to 64 printable characters.", name=name[:80])
    return name
