"""Described HTTP operations: tools of their own, called at one host and nowhere else."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from dizuo.agents.listed import ListedTool, ServerFailed
from dizuo.agents.openapi import Operations, operations, request_of
from dizuo.agents.schemas import given_schema
from dizuo.agents.web import FetchFailed
from dizuo.core.errors import UserError
from dizuo.core.tools import ToolContext, ToolResult
from dizuo.wiring import House
from tests.agents.web_server import Misbehaving

TOKEN = "tok-secret-0123456789"

PETS = """
openapi: 3.0.3
info: {title: Pets, version: "1"}
servers: [{url: https://elsewhere.example/v1}]
paths:
  /pets/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string}}
    get:
      operationId: getPet
      summary: One pet.
      parameters:
        - {name: fields, in: query, schema: {type: array, items: {type: string}}}
        - {name: X-Language, in: header, schema: {type: string}}
        - {name: Authorization, in: header, required: true, schema: {type: string}}
    delete:
      operationId: removePet
  /pets:
    post:
      operationId: addPet
      description: Adds a pet.
      requestBody:
        required: true
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Pet"}
    put:
      summary: Not as JSON, so that it is left out.
      requestBody: {required: true, content: {text/csv: {schema: {type: string}}}}
  /session:
    get:
      summary: With a cookie, so that it is left out.
      parameters: [{name: s, in: cookie, required: true, schema: {type: string}}]
components:
  schemas:
    Pet:
      type: object
      required: [name]
      properties:
        name: {type: string, nullable: true}
        example: {type: string}
        age: {type: integer, minimum: 0, exclusiveMinimum: true}
        friends: {type: array, items: {$ref: "#/components/schemas/Pet"}}
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Misbehaving]:
    with Misbehaving().serving() as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pets.yaml"
    path.write_text(PETS, "utf-8")
    return path


def listed(path: Path | str, base: str = "https://pets.example/v1") -> Mapping[str, ListedTool]:
    return {one.name: one for one in asyncio.run(Operations(str(path), base, {}).list())}


def requested(
    tool: ListedTool, base: str = "https://pets.example/v1", **arguments: Any
) -> tuple[str, dict[str, str], Any]:
    assert tool.operation is not None
    return request_of(tool.operation, base, arguments, no_file)


def no_file(name: str, _most: int) -> bytes:
    raise AssertionError(f"the file {name} was read")


# --- what is described ----------------------------------------------------------------------------------------


def test_operations_are_tools_and_what_needs_cookies_or_other_bodies_is_left_out(file: Path) -> None:
    tools = listed(file)
    assert {name: (one.description, one.effect) for name, one in tools.items()} == {
        "getPet": ("One pet.", "read"),
        "removePet": ("DELETE /pets/{id}", "outside"),
        "addPet": ("Adds a pet.", "outside"),
    }
    get = tools["getPet"].parameters
    assert get["properties"].keys() == {"id", "fields", "X-Language"}  # where a message goes is no argument
    assert get["required"] == ["id"]


def test_schemas_come_whole_and_as_json_schema_says_them(file: Path) -> None:
    check = given_schema(listed(file)["addPet"].parameters).faults
    assert check({"body": {"name": None, "age": 1, "example": "x", "friends": [{"name": "Rex"}]}}) == []
    assert (
        "age: 0 is less than or equal to the minimum" in check({"body": {"name": "x", "age": 0}})[0].split("body.")[1]
    )
    assert "body.friends.0" in check({"body": {"name": "x", "friends": [{"name": 1}]}})[0]
    assert check({}) == ["arguments: 'body' is a required property"]


def test_a_description_in_json_says_the_same(file: Path, tmp_path: Path) -> None:
    import yaml

    (tmp_path / "pets.json").write_text(json.dumps(yaml.safe_load(PETS)), "utf-8")
    assert listed(tmp_path / "pets.json") == listed(file)


BOMB = "openapi: 3.0.3\na: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "swagger: '2.0'\npaths: {}",
        BOMB,
        "openapi: 3.1.0\npaths: {/a: {get: {parameters: [{$ref: 'https://evil.example/x'}]}}}",
        "openapi: 3.1.0\npaths: {/a: {get: {parameters: [{$ref: '#/nowhere'}]}}}",
        "openapi: 3.1.0\npaths: {/a: {get: {parameters: [{name: x}]}}}",
        "openapi: 3.1.0\npaths: {/a: {$ref: '#/paths/~1a'}}",
        "openapi: 3.1.0\nx: !!python/object/apply:os.system [true]",
        "openapi: 3.1.0\npaths: {" + ", ".join(f"/{n}: {{get: {{}}}}" for n in range(201)) + "}",
    ],
)
def test_what_is_no_description_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text, "utf-8")
    with pytest.raises(ServerFailed):
        listed(tmp_path / "x.yaml")


def test_names_that_come_twice_are_told_apart() -> None:
    twice = {"openapi": "3.1.0", "paths": {f"/{n}": {"get": {"operationId": "same"}} for n in range(3)}}
    assert len({one.name for one in operations(twice)}) == 3


# --- what is sent ---------------------------------------------------------------------------------------------


def test_arguments_go_where_the_description_says(file: Path) -> None:
    tools = listed(file)
    url, headers, body = requested(tools["getPet"], id="a b/c?d", fields=["x", "y&z"], **{"X-Language": "zh"})
    assert url == "https://pets.example/v1/pets/a%20b%2Fc%3Fd?fields=x&fields=y%26z"
    assert (headers, body) == ({"X-Language": "zh"}, None)
    url, headers, body = requested(tools["addPet"], body={"name": "旺财"})
    assert (url, headers) == ("https://pets.example/v1/pets", {"Content-Type": "application/json"})
    assert json.loads(body) == {"name": "旺财"}


@pytest.mark.parametrize(
    ("place", "value", "query"),
    [
        ({"style": "form", "explode": True}, [1, 2], "q=1&q=2"),
        ({"style": "form", "explode": False}, [1, 2], "q=1%2C2"),
        ({"style": "spaceDelimited", "explode": False}, [1, 2], "q=1+2"),
        ({"style": "pipeDelimited", "explode": False}, [1, 2], "q=1%7C2"),
        ({"style": "deepObject", "explode": True}, {"a": 1}, "q%5Ba%5D=1"),
        ({"style": "form", "explode": True}, {"a": 1}, "a=1"),
        ({"style": "form", "explode": False}, {"a": 1}, "q=a%2C1"),
        ({"style": "form", "explode": True}, True, "q=true"),
    ],
)
def test_query_parameters_keep_to_their_style(place: dict[str, Any], value: Any, query: str) -> None:
    operation = {"path": "/", "body": "", "parameters": {"q": {"in": "query", "name": "q", **place}}}
    assert request_of(operation, "http://h", {"q": value}, no_file)[0] == f"http://h/?{query}"


@pytest.mark.parametrize("id", ["..", ".", ""])
def test_no_argument_leads_out_of_the_path(file: Path, id: str) -> None:
    with pytest.raises(FetchFailed):
        requested(listed(file)["removePet"], id=id)


@pytest.mark.parametrize(
    "id", ["../admin", "..%2fadmin", "%2e%2e", "@evil.example/", "//evil.example", "{id}", "a#b", "。。"]
)
def test_whatever_an_argument_says_it_stays_one_part_of_the_path(file: Path, site: Misbehaving, id: str) -> None:
    operation = listed(file)["getPet"]
    before = len(site.asked)

    async def call() -> ToolResult:
        one = Operations(str(file), f"{site.url}/v1", {})
        await one.list()
        return await one.call(operation.name, {"id": id})

    asyncio.run(call())
    [(_method, path, _headers, _body)] = site.asked[before:]
    assert path.startswith("/v1/pets/")
    assert path.count("/") == 3


def test_a_header_cannot_bring_another_one(file: Path) -> None:
    with pytest.raises(FetchFailed):
        requested(listed(file)["getPet"], id="a", **{"X-Language": "zh\r\nX-Admin: yes"})


# --- other bodies ---------------------------------------------------------------------------------------------

FORMS = """
openapi: 3.1.0
info: {title: Forms, version: "1"}
paths:
  /charge:
    post:
      operationId: charge
      requestBody:
        required: true
        content:
          application/x-www-form-urlencoded:
            schema: {$ref: "#/components/schemas/Charge"}
            encoding: {card: {style: deepObject, explode: true}, tags: {style: form, explode: false}}
  /upload:
    post:
      operationId: upload
      requestBody:
        required: true
        content:
          multipart/form-data:
            schema:
              type: object
              required: [file]
              additionalProperties: false
              properties:
                title: {type: string}
                about: {type: object, properties: {year: {type: integer}}}
                file: {type: string, format: binary, description: The report.}
                more: {type: array, items: {contentMediaType: application/octet-stream}}
            encoding: {file: {contentType: text/csv}}
  /say:
    post:
      operationId: say
      requestBody: {required: true, content: {text/plain: {schema: {type: string}}}}
components:
  schemas:
    Charge:
      type: object
      required: [amount]
      properties:
        amount: {type: integer}
        note: {type: string}
        tags: {type: array, items: {type: string}}
        lines: {type: array, items: {type: string}}
        card: {type: object}
        about: {type: object}
"""


@pytest.fixture
def forms(tmp_path: Path) -> Path:
    path = tmp_path / "forms.yaml"
    path.write_text(FORMS, "utf-8")
    return path


def test_a_form_is_sent_as_its_description_says(forms: Path) -> None:
    charge = listed(forms)["charge"]
    given = {
        "amount": 5,
        "note": "咖啡 & 茶",
        "tags": ["a", "b"],
        "lines": ["x", "y"],
        "card": {"number": "42", "owner": {"name": "Ann"}},
        "about": {"year": 2024},
    }
    assert given_schema(charge.parameters).faults({"body": given}) == []
    assert given_schema(charge.parameters).faults({"body": {"amount": "5"}}) != []
    _url, headers, body = requested(charge, body=given)
    assert headers == {"Content-Type": "application/x-www-form-urlencoded"}
    assert parse_qsl(body.decode()) == [
        ("amount", "5"),
        ("note", "咖啡 & 茶"),
        ("tags", "a,b"),
        ("lines", "x"),
        ("lines", "y"),
        ("card[number]", "42"),
        ("card[owner][name]", "Ann"),
        ("about", '{"year": 2024}'),
    ]


def test_a_text_is_sent_as_it_is(forms: Path) -> None:
    _url, headers, body = requested(listed(forms)["say"], body="你好\n{}")
    assert (headers, body.decode()) == ({"Content-Type": "text/plain; charset=utf-8"}, "你好\n{}")


def parts_of(headers: Mapping[str, str], body: bytes) -> list[tuple[str | None, str | None, str, bytes]]:
    """(name, file name, media type, bytes) of a multipart body, as the standard library reads it."""
    from email import message_from_bytes
    from email.policy import HTTP

    whole = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body, policy=HTTP)
    found = []
    for part in whole.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        found.append((name, part.get_filename(), part.get_content_type(), part.get_payload(decode=True)))
    return found


def test_files_of_the_run_are_sent_by_their_names(forms: Path, house: House, site: Misbehaving, tmp_path: Path) -> None:
    house.tool_servers.add("forms", openapi=str(forms), url=site.url)
    house.tool_servers.approve("forms", house.tool_servers.check("forms").fingerprint)
    folder = tmp_path / "run"
    (folder / "out").mkdir(parents=True)
    (folder / "out/报告.csv").write_bytes(b"a,b\r\n--x--\r\n")
    (folder / "b.png").write_bytes(bytes(range(256)))
    body = {"title": 'A "b"\r\nX: y', "about": {"year": 1}, "file": "out/报告.csv", "more": ["b.png", "b.png"]}
    result = called(house, "forms__upload", workspace=folder, body=body)
    assert result.text.startswith("Status 200"), result.text
    _method, path, headers, sent = site.asked[-1]
    assert path == "/upload"
    assert parts_of(headers, sent) == [
        ("title", None, "text/plain", b'A "b"\r\nX: y'),
        ("about", None, "application/json", b'{"year": 1}'),
        ("file", "报告.csv", "text/csv", b"a,b\r\n--x--\r\n"),
        ("more", "b.png", "image/png", bytes(range(256))),
        ("more", "b.png", "image/png", bytes(range(256))),
    ]
    described = house.tool_servers.offered()["forms__upload"][1].parameters["properties"]["body"]["properties"]
    assert described["file"]["description"] == "The report. The name of a file in the run's folder."
    assert described["more"]["items"]["type"] == "string"


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "link.txt", "none.txt", "out", ""])
def test_no_name_leads_to_a_file_that_is_not_the_runs(
    forms: Path, house: House, site: Misbehaving, tmp_path: Path, name: str
) -> None:
    house.tool_servers.add("forms", openapi=str(forms), url=site.url)
    house.tool_servers.approve("forms", house.tool_servers.check("forms").fingerprint)
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "run"
    (folder / "out").mkdir(parents=True)
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    before = len(site.asked)
    for workspace in (folder, None):
        assert called(house, "forms__upload", workspace=workspace, body={"file": name}).failed
    assert len(site.asked) == before


def test_a_body_that_is_too_large_is_not_sent(forms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dizuo.agents import openapi_bodies

    monkeypatch.setattr(openapi_bodies, "MOST_BODY_BYTES", 1000)
    with pytest.raises(FetchFailed, match="1000 bytes"):
        requested(listed(forms)["say"], body="x" * 1001)


def test_what_was_approved_before_there_were_forms_stays_approved(file: Path) -> None:
    """The words of a tool that takes JSON are what they were: its approval holds."""
    assert listed(file)["addPet"].operation == {
        "method": "post",
        "path": "/pets",
        "parameters": {},
        "body": "application/json",
    }


# --- called ---------------------------------------------------------------------------------------------------


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    with House.open() as house:
        yield house


def pets(house: House, file: Path, base: str) -> None:
    house.tool_servers.add("pets", openapi=str(file), url=base, headers={"Authorization": f"Bearer {TOKEN}"})
    house.tool_servers.approve("pets", house.tool_servers.check("pets").fingerprint)


def called(house: House, name: str, workspace: Path | None = None, **arguments: Any) -> ToolResult:
    async def call() -> ToolResult:
        lent = house.toolbox.lend([name])
        [tool] = lent.tools
        return await tool.call(json.dumps(arguments), ToolContext(workspace=workspace))

    return asyncio.run(call())


@pytest.mark.both_databases
def test_an_approved_operation_is_called_with_the_token_that_nobody_sees(
    house: House, file: Path, site: Misbehaving
) -> None:
    pets(house, file, f"{site.url}/v1/")
    result = called(house, "pets__addPet", body={"name": "Rex"})
    assert result == ToolResult(text='Status 200\n{"said": "hello"}', trusted=False)
    method, path, headers, body = site.asked[-1]
    assert (method, path, json.loads(body)) == ("POST", "/v1/pets", {"name": "Rex"})
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in house.tool_servers.get("pets").model_dump_json()


def test_a_server_that_quotes_the_token_does_not_give_it_to_the_model(
    house: House, file: Path, site: Misbehaving
) -> None:
    pets(house, file, f"{site.url}/echo")
    result = called(house, "pets__getPet", id="a")
    assert TOKEN not in result.text
    assert "Authorization: ***" in result.text


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("/to?http://169.254.169.254", "base URL"),
        ("/to302", "Status 302"),
        ("/picture", "[image/png: not shown]"),
        ("/missing", "Status 404"),
        ("/packed", "packed"),
    ],
)
def test_what_goes_wrong_is_a_failed_result(house: House, file: Path, site: Misbehaving, base: str, says: str) -> None:
    if "?" in base:
        with pytest.raises(UserError, match=says):
            pets(house, file, site.url + base)
        return
    pets(house, file, site.url + base)
    with Misbehaving().serving() as other:
        result = called(house, "pets__getPet", id="a")
        assert other.asked == []  # no redirect is followed: the token would go along
    assert says in result.text
    assert result.failed == (base != "/picture")
    assert not result.trusted


def test_an_operation_that_is_described_otherwise_by_now_is_not_called(
    house: House, file: Path, site: Misbehaving
) -> None:
    pets(house, file, site.url)
    file.write_text(PETS.replace("/pets/{id}", "/people/{id}"), "utf-8")
    before = len(site.asked)
    assert "no longer what was approved" in called(house, "pets__removePet", id="a").text
    assert len(site.asked) == before
    assert "pets__removePet" not in house.tool_servers.offered()


def test_a_description_at_an_address_is_fetched_without_the_token(house: House, file: Path, site: Misbehaving) -> None:
    house.tool_servers.add("pets", openapi=f"{site.url}/missing", url=site.url, headers={"Authorization": TOKEN})
    assert "404" in str(house.tool_servers.check("pets").problem)
    assert "Authorization" not in site.asked[-1][2]
