"""A file from an address, checked against what it must be, and gone on with where a transfer broke off."""

import hashlib
from pathlib import Path

from dizuo.core.errors import Unavailable, UserError


def fetch(url: str, file: Path, *, n_bytes: int, sha256: str) -> Path:
    """The file, at once when it is there already; else fetched beside it and put in place when it is whole and right.

    A transfer that broke off goes on from its last byte where the server can (RFC 9110, section 14). Never takes more
    than `n_bytes`. Raises Unavailable when the address does not answer with the file, UserError when what came is not
    the file that was described (it is deleted then).
    """
    if file.is_file() and file.stat().st_size == n_bytes and _digest(file) == sha256:
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    if not part.is_file() or part.stat().st_size < n_bytes:
        _receive(url, part, n_bytes)
    size, found = part.stat().st_size, _digest(part)
    if size < n_bytes:
        raise Unavailable(
            "{url} broke off after {found} of {expected} bytes. Start again: it goes on from there.",
            url=url, found=size, expected=n_bytes,
        )  # fmt: skip
    if found != sha256:
        part.unlink()
        raise UserError(
            "What {url} sent is not the file that is described: its SHA-256 is {found}, not {expected}. "
            "It was deleted.",
            url=url, found=found, expected=sha256,
        )  # fmt: skip
    part.replace(file)
    return file


def _receive(url: str, part: Path, n_bytes: int) -> None:
    import httpx

    have = part.stat().st_size if part.is_file() else 0
    # Identity: the checksum is that of the file, and a range counts the bytes of what is sent.
    headers = {"accept-encoding": "identity", **({"range": f"bytes={have}-"} if have else {})}
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as answer:
            answer.raise_for_status()
            resumed = answer.status_code == 206
            with part.open("ab" if resumed else "wb") as out:
                size = have if resumed else 0
                for block in answer.iter_raw():  # as it comes: what arrived is kept when it breaks off
                    out.write(block)
                    size += len(block)
                    if size > n_bytes:
                        break
    except httpx.RemoteProtocolError:
        return  # closed before its end: the size tells
    except httpx.HTTPStatusError as error:
        raise Unavailable("{url} answered {status}. Try later, or set DIZUO_DATA to a folder that holds the file.",
                          url=url, status=error.response.status_code) from error  # fmt: skip
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable("{url} cannot be reached ({reason}). Try later, or set DIZUO_DATA to a folder that holds the "
                          "file.", url=url, reason=str(error) or type(error).__name__) from error  # fmt: skip


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
