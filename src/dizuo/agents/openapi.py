"""HTTP operations as an OpenAPI description tells of them: each one a tool. Versions 3.0 and 3.1.

A tool takes the operation's parameters by their names and a body as `body` (openapi_bodies.py). Requests go to the host
of the base URL that the owner named, and nowhere else: what the description says of servers is not heeded, redirects
are not followed, and no argument leads out of the operation's path.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from dizuo.agents.listed import ListedTool, ServerFailed
from dizuo.agents.openapi_bodies import MOST_BODY_BYTES, Body, ReadFile, body_of, encoded, joined, pairs
from dizuo.agents.web import FetchFailed, Web, WebLimits
from dizuo.agents.workspace import of
from dizuo.core.errors import DizuoError
from dizuo.core.tools import ToolContext, ToolResult
from dizuo.platform import schema

MOST_OPERATIONS = 200
_MOST_BYTES = 8 << 20  # of a description
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_READS = frozenset({"get", "head", "options"})
# What says where a message goes and how it is read is not an argument's to set.
_NOT_ARGUMENTS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"}
)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_SCHEMAS = "#/components/schemas/"
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_VALUES = frozenset({"const", "default", "enum", "example", "examples"})


class Operations:
    """The operations of one description, called at one base URL. As `mcp_client.Connection`, with nothing to close."""

    def __init__(
        self, description: str, base_url: str, headers: Mapping[str, str], limits: WebLimits = WebLimits(seconds=60)
    ) -> None:
        """`description`: a path or an https address. `headers` go along with every call, not with the description."""
        self._description = description
        self._base = base_url.rstrip("/")
        self._headers = headers
        self._limits = limits
        self._listed: Mapping[str, ListedTool] = {}

    async def list(self) -> Sequence[ListedTool]:
        """The operations that can be called. Raises ServerFailed, and FetchFailed for an address."""
        found = list(operations(_read(await self._fetched())))
        if len(found) > MOST_OPERATIONS:
            raise ServerFailed(
                "The description has {n} operations; {most} can be tools.", n=len(found), most=MOST_OPERATIONS
            )
        self._listed = {one.name: one for one in found}
        return found

    async def call(self, name: str, arguments: Mapping[str, Any], context: ToolContext = ToolContext()) -> ToolResult:
        """What the operation answered; never trusted. Files that it is sent are those of the run."""
        operation = self._listed[name].operation
        assert operation is not None
        try:
            reading = partial(_file_of, context)
            url, headers, body = await asyncio.to_thread(request_of, operation, self._base, arguments, reading)
            web = Web([urlsplit(self._base).hostname or ""], self._limits)
            own = {name.lower() for name in self._headers}
            asked = {name: value for name, value in headers.items() if name.lower() not in own}
            sent = {"Accept": "application/json, text/*;q=0.5", **asked, **self._headers}
            answer = await web.request(operation["method"].upper(), url, headers=sent, body=body, follow=False)
        except DizuoError as error:
            return ToolResult(text=str(error), failed=True, trusted=False)
        readable = answer.media_type.startswith("text/") or re.search(r"[/+](json|xml)$", answer.media_type)
        text = answer.body.decode("utf-8", "replace") if readable else f"[{answer.media_type}: not shown]"
        return ToolResult(
            text=f"Status {answer.status}\n{text if answer.body else ''}",
            failed=answer.status >= 300,
            trusted=False,
        )

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _fetched(self) -> bytes:
        if not self._description.startswith(("http://", "https://")):
            return await asyncio.to_thread(self._from_disk)
        web = Web([urlsplit(self._description).hostname or ""], WebLimits(self._limits.seconds, _MOST_BYTES))
        answer = await web.request("GET", self._description)
        if answer.status != 200:
            raise FetchFailed("{host} answers with the status {status}.", host=self._description, status=answer.status)
        return answer.body

    def _from_disk(self) -> bytes:
        try:
            with open(self._description, "rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise ServerFailed("The description cannot be read: {reason}", reason=error.strerror or "") from None
        if len(data) > _MOST_BYTES:
            raise ServerFailed("The description is larger than {limit} bytes.", limit=_MOST_BYTES)
        return data


# --- the description ------------------------------------------------------------------------------------------


def _read(data: bytes) -> Mapping[str, Any]:
    """A description in JSON or YAML. Raises ServerFailed."""
    import yaml

    class Plain(yaml.SafeLoader):
        """YAML without aliases, ten lines of which can stand for a billion."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not taken")
            return super().compose_node(parent, index)

    try:
        text = data.decode("utf-8-sig")
        try:
            found = json.loads(text)
        except ValueError:
            found = yaml.load(text, Plain)  # noqa: S506  # a SafeLoader
        # Dates and the like are none of JSON, and halves of surrogate pairs can be kept nowhere.
        found = json.loads(schema.storable(json.dumps(found, ensure_ascii=False)))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise ServerFailed("The description is neither JSON nor YAML: {reason}", reason=str(error)[:300]) from None
    version = str(found.get("openapi", "")) if isinstance(found, dict) else ""
    if not version.startswith(("3.0", "3.1")):
        raise ServerFailed("That is no description in OpenAPI 3.0 or 3.1.")
    return found


def operations(description: Mapping[str, Any]) -> Iterator[ListedTool]:
    """The operations that JSON arguments can call; those that need cookies, or bodies of other kinds, are left out."""
    names: set[str] = set()
    paths = description.get("paths")
    for path, item in paths.items() if isinstance(paths, dict) else ():
        item = _resolved(description, item)
        for method in _METHODS:
            told = item.get(method)
            if not isinstance(told, dict):
                continue
            name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(told.get("operationId") or f"{method}_{path}")).strip("_")
            if name in names:
                name = f"{name}_{len(names)}"
            try:
                tool = _operation(description, name, method, path, [*_list(item), *_list(told)], told)
            except (AttributeError, KeyError, TypeError, ValueError) as error:  # not as the specification has it
                raise ServerFailed(
                    "The operation {name} is not described as OpenAPI has it: {reason}",
                    name=name,
                    reason=str(error)[:200],
                ) from None
            if tool is not None:
                names.add(name)
                yield tool


def _operation(
    description: Mapping[str, Any], name: str, method: str, path: str, parameters: list[Any], told: Mapping[str, Any]
) -> ListedTool | None:
    properties: dict[str, Any] = {}
    required: list[str] = []
    places: dict[str, Any] = {}
    own: dict[tuple[str, str], Any] = {}
    for one in parameters:  # an operation's own replace those of its path
        one = _resolved(description, one)
        own[one["in"], one["name"]] = one
    for (place, called), one in own.items():
        if place == "cookie" or (place == "header" and called.lower() in _NOT_ARGUMENTS):
            if place == "cookie" and one.get("required"):
                return None
            continue
        argument = called if called not in properties and called != "body" else f"{called}_{place}"
        described = one.get("schema") or next(iter(one.get("content", {}).values()), {}).get("schema", {})
        properties[argument] = _with(described, one.get("description"))
        if one.get("required") or place == "path":
            required.append(argument)
        style = one.get("style") or ("form" if place == "query" else "simple")
        places[argument] = {"in": place, "name": called, "style": style, "explode": one.get("explode", style == "form")}
    body = _resolved(description, told.get("requestBody") or {})
    content = {kind.partition(";")[0].strip().lower(): of for kind, of in body.get("content", {}).items()}
    taken = body_of(content, partial(_resolved, description))
    if taken is not None:
        properties["body"] = _with(taken.schema, body.get("description"))
        required += ["body"] if body.get("required") else []
    elif body.get("required"):
        return None
    whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    words = [str(told.get(one, "")).strip() for one in ("summary", "description")]
    return ListedTool(
        name=name,
        description="\n".join(filter(None, words)) or f"{method.upper()} {path}",
        parameters=_embedded(description, whole),
        reads=method in _READS,
        operation={"method": method, "path": path, "parameters": places, **_sent(taken)},
    )


def _sent(body: Body | None) -> Mapping[str, Any]:
    return {"body": "" if body is None else body.kind, **({} if body is None else body.sent)}


def _list(told: Mapping[str, Any]) -> list[Any]:
    found = told.get("parameters")
    return found if isinstance(found, list) else []


def _with(told: Any, description: Any) -> Any:
    """The schema with what the parameter says of itself."""
    return {**told, "description": str(description)} if description and isinstance(told, dict) else told


def _resolved(description: Mapping[str, Any], told: Any) -> Mapping[str, Any]:
    """What stands behind a reference within the description. Raises ServerFailed for any other one."""
    for _ in range(10):
        reference = told.get("$ref") if isinstance(told, dict) else None
        if reference is None:
            return told if isinstance(told, dict) else {}
        told = _found(description, reference)
    raise ServerFailed("The description refers in circles.")


def _found(description: Mapping[str, Any], reference: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise ServerFailed(
            "The description refers to another one ({reference}), which is not read.", reference=reference
        )
    found: Any = description
    for part in reference[2:].split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or part not in found:
            raise ServerFailed("The description refers to {reference}, which is not in it.", reference=reference)
        found = found[part]
    return found


def _embedded(description: Mapping[str, Any], told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with all that it refers to in `$defs`, and 3.0's ways of saying things as JSON Schema has them."""
    old = str(description["openapi"]).startswith("3.0")
    definitions: dict[str, Any] = {}
    waiting: list[str] = []

    def moved(told: Any) -> Any:
        if isinstance(told, list):
            return [moved(one) for one in told]
        if not isinstance(told, dict):
            return told
        made: dict[str, Any] = {}
        for key, value in told.items():
            if key in _NAMED_SCHEMAS and isinstance(value, dict):  # whose keys are names, and no words of a schema
                made[key] = {name: moved(one) for name, one in value.items()}
            else:
                made[key] = value if key in _VALUES else moved(value)
        reference = told.get("$ref")
        if isinstance(reference, str):
            if not reference.startswith(_SCHEMAS):
                raise ServerFailed("The schema {reference} is not among the components.", reference=reference)
            waiting.append(reference)
            made["$ref"] = f"#/$defs/{reference.removeprefix(_SCHEMAS)}"
        return _as_json_schema(made) if old else made

    made = moved(told)
    while waiting:
        reference = waiting.pop()
        name = reference.removeprefix(_SCHEMAS).replace("~1", "/").replace("~0", "~")
        if name not in definitions:
            definitions[name] = {}  # before its own: it may refer to itself
            definitions[name] = moved(_found(description, reference))
    return {**made, "$defs": definitions} if definitions else made


def _as_json_schema(told: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0's `nullable` and boolean exclusive bounds, as JSON Schema 2020-12 says them."""
    if told.pop("nullable", None) is True:
        if isinstance(told.get("type"), str):
            told["type"] = [told["type"], "null"]
        if isinstance(told.get("enum"), list) and None not in told["enum"]:
            told["enum"] = [*told["enum"], None]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(told.get(exclusive), bool) and told.pop(exclusive) and bound in told:
            told[exclusive] = told.pop(bound)
    return told


# --- a request ------------------------------------------------------------------------------------------------


def request_of(
    operation: Mapping[str, Any], base_url: str, arguments: Mapping[str, Any], read: ReadFile
) -> tuple[str, dict[str, str], bytes | None]:
    """(URL, headers, body) of a call. Raises FetchFailed for what cannot be sent, and what `read` raises."""
    path: str = operation["path"]
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    for argument, place in operation["parameters"].items():
        value = arguments.get(argument)
        if value is None:
            continue
        match place["in"]:
            case "path":
                if value == "":  # it would be another operation: on all where one was meant
                    raise FetchFailed("The argument {name} is empty.", name=argument)
                path = path.replace("{" + place["name"] + "}", quote(joined(value), safe=""))
            case "query":
                query += pairs(place, value)
            case "header":
                headers[place["name"]] = joined(value)
                if not _HEADER_VALUE.fullmatch(headers[place["name"]]):
                    raise FetchFailed("The argument {name} holds what no header can.", name=argument)
    if any(part in (".", "..") for part in path.split("/")) or "{" in path:
        raise FetchFailed("The arguments lead out of the path {path}.", path=operation["path"])
    body: bytes | None = None
    if operation["body"] and "body" in arguments:
        headers["Content-Type"], body = encoded(operation, arguments["body"], read)
    return f"{base_url}{path}{'?' + urlencode(query) if query else ''}", headers, body


def _file_of(context: ToolContext, name: str, most: int) -> bytes:
    """A file of the run. Raises FetchFailed for one that is too large, and what the run's folder raises."""
    with of(context).open(name) as file:
        data = file.read(max(0, most) + 1)
    if len(data) > most:
        raise FetchFailed("The body has over {limit} bytes.", limit=MOST_BODY_BYTES)
    return data
