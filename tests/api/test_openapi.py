"""The OpenAPI description is true: schemathesis sends what it allows and what it forbids, and checks every answer."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test
from schemathesis.specs.openapi.checks import negative_data_rejection

from dizuo.api.server import create_app
from dizuo.platform.settings import load
from dizuo.wiring import House
from tests.conftest import prepare_home

# Whoever fuzzes these reads the disk from its root, starts programs, or waits for a backup a hundred times; they have
# their own tests.
LEFT_OUT = re.compile(
    r"/api/knowledge/\{name\}/(paths|sync)|/api/tools/\{name\}/check|/api/webhook/test|/api/(backup|repair|doctor)"
)
UPLOAD = "POST /api/knowledge/{name}/documents"

description = create_app(House(load({"DIZUO_HOME": "/nowhere"}))).openapi()  # nothing is opened
schema = schemathesis.openapi.from_dict(description)
# 422 is for what the description forbids, and must not meet what it allows. 400 may: that the text is no good here.
acceptance = schema.config.checks.positive_data_acceptance
acceptance.expected_statuses = [*acceptance.expected_statuses, "400"]
# Parametrized by hand: schemathesis gives all its cases one and the same id, of which xdist would run one.
operations = {one.ok().label: one.ok() for one in schema.get_all_operations() if not LEFT_OUT.fullmatch(one.ok().path)}


@pytest.fixture(scope="module")
def headers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What lets the owner of an instance with one empty knowledge base in."""
    home = tmp_path_factory.mktemp("openapi") / "home"
    prepare_home(request, home)
    with House.open({"DIZUO_HOME": str(home)}) as house:
        house.library.create("handbook")
        schema.app = create_app(house)
        for operation in operations.values():  # each took the schema's as it was made
            operation.app = schema.app
        yield {"Authorization": f"Bearer {house.identity.create_key('schemathesis')[1]}", "Host": "localhost"}


# Threads of other tests' servers draw random numbers while cases are made; hypothesis takes them for the strategies'.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("label", operations)
def test_an_operation_keeps_to_its_description(label: str, headers: dict[str, str]) -> None:
    # Whatever bytes a part of a form holds, they are a file: there is no wrong kind.
    excluded = [negative_data_rejection] if label == UPLOAD else []

    @settings(max_examples=5, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    modes = [HypothesisTestMode.EXAMPLES, HypothesisTestMode.COVERAGE, HypothesisTestMode.FUZZING]
    config = HypothesisTestConfig(project=schema.config, modes=modes)
    create_test(operation=operations[label], test_func=check, config=config)()


def test_hardly_an_operation_is_left_out() -> None:
    described = sum(len(methods) for methods in description["paths"].values())
    assert described - len(operations) == 7


def test_every_operation_says_what_an_error_looks_like() -> None:
    """Its schema is named rather than built for each: the name must lead somewhere."""
    assert "error" in description["components"]["schemas"]["ErrorBody"]["properties"]
    doors = {path for path in description["paths"] if path in ("/healthz", "/readyz", "/metrics")}
    for path in description["paths"].keys() - doors:
        for method, operation in description["paths"][path].items():
            said = operation["responses"]["422"]["content"]["application/json"]["schema"]
            assert said == {"$ref": "#/components/schemas/ErrorBody"}, (method, path)
