"""`dizuo tool offered`: what a run may be given."""

from collections.abc import Callable

from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_what_a_run_may_be_given_is_listed_beside_what_it_has(dizuo: Command) -> None:
    tools = {one["name"]: one for one in dizuo("tool", "offered", "--json").json["tools"]}
    assert tools["calculate"]["given"]
    assert not tools["fetch_page"]["given"]
    shown = dizuo("tool", "offered", "--language", "zh").out
    assert "--tool fetch_page" in shown
    assert "总是有" in shown
