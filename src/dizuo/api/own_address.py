"""Where a caller reaches this server, for what it reads and comes back with."""

from urllib.parse import urlsplit

from fastapi import Request

from dizuo.wiring import House


def own_address(request: Request, house: House) -> str:
    """The address with a slash at its end: as the setting says it where that is of the host that was asked, since a
    proxy may speak https for us."""
    public = house.settings.public_url.rstrip("/")
    same = public and urlsplit(public).netloc.lower() == request.headers.get("host", "").lower()
    return f"{public}/" if same else str(request.base_url)
