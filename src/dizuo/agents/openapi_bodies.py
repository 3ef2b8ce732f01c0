"""Bodies of described HTTP operations: JSON, forms, forms with files of the run, and plain text.

How a schema's values become a form: https://spec.openapis.org/oas/v3.1.0.html#encoding-object; how a form becomes
bytes: https://url.spec.whatwg.org/#application/x-www-form-urlencoded and RFC 7578.
"""

import json
import mimetypes
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlencode

from dizuo.agents.web import FetchFailed

FORM, MULTIPART, PLAIN = "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"
MOST_BODY_BYTES = 32 << 20
_FILE = "The name of a file in the run's folder."
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")

Resolve = Callable[[Any], Mapping[str, Any]]
"""What stands behind a reference within a description."""
ReadFile = Callable[[str, int], bytes]
"""The bytes of a file of the run by its name, of so many at most. Raises DizuoError."""


@dataclass(frozen=True)
class Body:
    """What an operation takes as its argument `body`, and how that is sent."""

    kind: str  # the media type
    schema: Any
    sent: Mapping[str, Any] = field(default_factory=dict)  # of forms: see `encoded`


def body_of(content: Mapping[str, Any], resolve: Resolve) -> Body | None:
    """The first of the bodies that can be sent, in the order that says most of what is meant; None: there is none."""
    kind = next((one for one in content if one == "application/json" or one.endswith("+json")), "")
    if kind:
        return Body(kind, content[kind].get("schema", {}))
    for kind in (FORM, MULTIPART):
        if kind in content:
            schema = resolve(content[kind].get("schema") or {})
            if isinstance(schema.get("properties"), dict):
                return _form(kind, schema, content[kind].get("encoding") or {}, resolve)
    return Body(PLAIN, {"type": "string"}) if PLAIN in content else None


def _form(kind: str, schema: Mapping[str, Any], told: Mapping[str, Any], resolve: Resolve) -> Body:
    properties = dict(schema["properties"])
    fields: dict[str, Any] = {}
    for name in properties:
        how = told.get(name) or {}
        one = resolve(properties[name])
        media_type = str(how.get("contentType") or "").partition(",")[0].strip()
        sent = {key: how[key] for key in ("style", "explode") if key in how}
        if kind == MULTIPART:
            if _MEDIA_TYPE.fullmatch(media_type):
                sent["type"] = media_type
            many = one.get("type") == "array"
            if _is_file(resolve(one.get("items") or {}) if many else one, media_type):
                words = f"{one.get('description') or ''} {_FILE}".strip()
                named = {"type": "string", "minLength": 1, "description": words}
                properties[name] = {"type": "array", "items": named} if many else named
                sent["file"] = True
        if sent:
            fields[name] = sent
    return Body(kind, {**schema, "properties": properties}, {"fields": fields})


def _is_file(schema: Mapping[str, Any], media_type: str) -> bool:
    """Whether a field of a multipart form is bytes: 3.0 says so by `format`, 3.1 by a media type, or by no type."""
    if schema.get("type") == "string":
        return schema.get("format") == "binary" or ("contentMediaType" in schema and "contentEncoding" not in schema)
    untyped = not schema.keys() - {"description", "contentMediaType", "title", "format"}
    return untyped and not media_type.startswith(("text/", "application/json"))


# --- sending --------------------------------------------------------------------------------------------------


def encoded(operation: Mapping[str, Any], value: Any, read: ReadFile) -> tuple[str, bytes]:
    """The Content-Type and the bytes of a body. Raises FetchFailed for what is too large, and what `read` raises."""
    kind: str = operation["body"]
    fields: Mapping[str, Any] = operation.get("fields") or {}
    match kind:
        case "application/x-www-form-urlencoded":
            pairs = [pair for name, one in value.items() for pair in _pairs_of(name, one, fields.get(name) or {})]
            body = urlencode(pairs, errors="replace").encode()
        case "multipart/form-data":
            kind, body = _multipart(value, fields, read)
        case "text/plain":
            kind, body = "text/plain; charset=utf-8", str(value).encode("utf-8", "replace")
        case _:
            body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    if len(body) > MOST_BODY_BYTES:
        raise FetchFailed("The body has over {limit} bytes.", limit=MOST_BODY_BYTES)
    return kind, body


def _pairs_of(name: str, value: Any, how: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A field of a form. Objects are JSON, unless a style says else."""
    if value is None:
        return []
    if isinstance(value, dict) and "style" not in how:
        return [(name, json.dumps(value, ensure_ascii=False))]
    style = how.get("style", "form")
    return pairs({"name": name, "style": style, "explode": how.get("explode", style == "form")}, value)


def _multipart(value: Mapping[str, Any], fields: Mapping[str, Any], read: ReadFile) -> tuple[str, bytes]:
    boundary = f"dizuo-{secrets.token_hex(16)}"  # that nobody can guess: no file ends its part
    parts = bytearray()
    for name, given in value.items():
        how = fields.get(name) or {}
        for one in given if isinstance(given, list) else [] if given is None else [given]:
            head, data = _part(how, one, read, MOST_BODY_BYTES - len(parts))
            disposition = f'form-data; name="{_quoted(name)}"{head}'
            parts += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode("utf-8", "replace")
            parts += data + b"\r\n"
    return f"{MULTIPART}; boundary={boundary}", bytes(parts + f"--{boundary}--\r\n".encode())


def _part(how: Mapping[str, Any], value: Any, read: ReadFile, most: int) -> tuple[str, bytes]:
    """The rest of the head of a part, and its bytes."""
    if how.get("file"):
        name = PurePosixPath(str(value)).name
        kind = how.get("type") or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return f'; filename="{_quoted(name)}"\r\nContent-Type: {kind}', read(str(value), most)
    text = isinstance(value, str)
    kind = how.get("type") or ("" if not isinstance(value, dict | list) else "application/json")
    said = value if text else json.dumps(value, ensure_ascii=False)
    return f"\r\nContent-Type: {kind}" if kind else "", said.encode("utf-8", "replace")


def _quoted(name: str) -> str:
    """A name within the quotes of a part's head, as https://html.spec.whatwg.org/#multipart-form-data writes it."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


# --- styles ---------------------------------------------------------------------------------------------------


def pairs(place: Mapping[str, Any], value: Any) -> list[tuple[str, str]]:
    """A parameter of a query or a form in its style: form, deepObject, spaceDelimited or pipeDelimited."""
    name = place["name"]
    if isinstance(value, dict):
        if place["style"] == "deepObject":
            return list(_deep(name, value))
        if place["explode"]:
            return [(key, plain(one)) for key, one in value.items()]
    elif isinstance(value, list):
        if place["style"] == "deepObject":
            return list(_deep(name, dict(enumerate(value))))
        if place["explode"]:
            return [(name, plain(one)) for one in value]
        between = {"spaceDelimited": " ", "pipeDelimited": "|"}.get(place["style"], ",")
        return [(name, between.join(plain(one) for one in value))]
    return [(name, joined(value))]


def _deep(name: str, value: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """`a[b][c]=1`: beyond one level no specification says how, and this is how servers read it."""
    for key, one in value.items():
        if isinstance(one, dict | list):
            yield from _deep(f"{name}[{key}]", one if isinstance(one, dict) else dict(enumerate(one)))
        else:
            yield f"{name}[{key}]", plain(one)


def joined(value: Any) -> str:
    """A value in the style `simple`."""
    if isinstance(value, dict):
        return ",".join(f"{key},{plain(one)}" for key, one in value.items())
    return ",".join(plain(one) for one in value) if isinstance(value, list) else plain(value)


def plain(value: Any) -> str:
    """A value as a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
