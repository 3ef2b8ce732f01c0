"""App files: read strictly, listed with what is wrong, one of the owner's in the place of a shipped one."""

from pathlib import Path

import pytest

from dizuo.agents.policy import Policy, Rule
from dizuo.apps.app import Apps, read_app
from dizuo.core.errors import NotFound, UserError
from dizuo.core.tools import Tool, tool
from dizuo.platform.catalogue import translate

GOOD = """\
name: clerk
title: {en: Clerk, zh: 文员}
description: Files letters.
instructions: File what you are given.
tools: [fetch_page, app/reader]
policy:
  rules:
  - {tool: fetch_page, arguments: {url: "https://example.com/*"}, decision: allow}
  - {tool: fetch_page, decision: deny}
budget: {steps: 5}
examples:
- {en: File this., zh: 归档。}
- Once more.
"""


def written(folder: Path, text: str, name: str = "clerk.yaml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def test_a_file_is_read_with_its_texts_in_both_languages(tmp_path: Path) -> None:
    app = read_app(written(tmp_path, GOOD))
    assert (app.title.of("en"), app.title.of("zh")) == ("Clerk", "文员")
    assert app.description.of("en") == app.description.of("zh") == "Files letters."
    assert [one.of("zh") for one in app.examples] == ["归档。", "Once more."]
    assert (app.budget.steps, app.budget.tokens) == (5, 200_000)
    assert (app.model, app.knowledge) == ("", "")
    assert app.model_name == "app/clerk"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("colour: red", "there is no key 'colour'"),
        ("budget: {stepz: 3}", "there is no key 'budget.stepz'"),
        ("budget: {steps: many}", "budget.steps: must be a whole number"),
        ("budget: {steps: 0}", "budget.steps: "),
        ("tools: fetch_page", "tools: must be a list"),
        ("tools: [app/clerk]", "an app cannot call itself"),
        ("model: app/reader", "nor think with an app"),
        ("policy: {rules: [{tool: x, decision: perhaps}]}", "policy.rules.0.decision: "),
        ("title: {en: Clerk}", "title.zh is missing"),
        ("instructions: ''", "instructions: must not be empty"),
        ("name: Clerk!", "name: small letters, digits and hyphens"),
        ("name: other", "name is 'other', and the file is that of 'clerk'"),
        ("name: user", "name is 'user'"),
        ("model: [", "no valid YAML"),
        ("tools: [*all]", "aliases are not taken"),
        ("model: x\nmodel: y", "model stands there twice"),
        ("examples: " + "[" * 5000, "no valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key_in_both_languages(tmp_path: Path, line: str, fault: str) -> None:
    key = line.partition(":")[0]
    kept = "\n".join(one for one in GOOD.splitlines() if not one.startswith((f"{key}:", "  ", "- ")))
    kept = kept.replace("policy:", "").replace("examples:", "")
    file = written(tmp_path, f"{kept}\n{line}\n")
    with pytest.raises(UserError) as raised:
        read_app(file, "clerk")
    assert str(raised.value).startswith(f"{file}: ")
    assert fault in str(raised.value)
    chinese = translate(raised.value.template, "zh", **raised.value.params)
    assert chinese.startswith(f"{file}：")
    assert chinese != str(raised.value)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"- a\n- b\n", b"", b"x" * 300_000])
def test_what_is_no_app_file_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "clerk.yaml"
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"clerk\.yaml: "):
        read_app(file)


def test_a_broken_file_is_listed_with_its_problem_and_breaks_no_other(tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    written(shipped, GOOD)
    written(shipped, GOOD.replace("app/reader", "app/other").replace("clerk", "reader"), "reader.yaml")
    apps = Apps(own, shipped)
    assert [(one.name, one.source) for one in apps.list()] == [("clerk", "shipped"), ("reader", "shipped")]
    written(own, "name: bad", "bad/app.yaml")
    mine = written(own, GOOD.replace("steps: 5", "steps: 7"))
    assert [(one.name, one.source) for one in apps.list()] == [("bad", "own"), ("clerk", "own"), ("reader", "shipped")]
    assert [one.name for one in apps.usable()] == ["clerk", "reader"]
    assert apps.get("app/clerk").budget.steps == 7, "the owner's stands in the place of the shipped one"
    assert "title is missing" in str(apps.find("bad").problem)
    with pytest.raises(UserError, match="title is missing"):
        apps.get("bad")
    with pytest.raises(NotFound, match="clerk, reader"):
        apps.get("nobody")
    written(own, GOOD.replace("steps: 5", "steps: 70"))
    assert apps.get("clerk").budget.steps == 70, "a changed file is read again"
    mine.unlink()
    assert apps.get("clerk").budget.steps == 5


# --- whose rules hold -----------------------------------------------------------------------------------------


@tool(effect="outside")
def send(to: str) -> str:
    """Send."""
    return to


@tool
def look() -> str:
    """Look."""
    return ""


def rule(decision: str, tool: str = "send", **arguments: str) -> Rule:
    return Rule.model_validate({"tool": tool, "decision": decision, "arguments": arguments})


def decided(policy: Policy, to: str = "a", which: Tool = send, **more: bool) -> str:
    arguments = f'{{"to": "{to}"}}' if which is send else "{}"
    return policy.decide(which, arguments, **more)


def test_whoever_starts_an_app_may_allow_what_it_asks_and_not_what_it_denies() -> None:
    app = Policy(rules=[rule("ask", to="b*"), rule("deny", to="c*"), rule("deny", tool="look")])
    assert decided(app) == "ask"
    loosened = app.loosened([rule("allow"), rule("allow", tool="look")])
    assert [decided(loosened, to) for to in ("a", "bb", "cc")] == ["allow", "allow", "deny"]
    assert decided(loosened, which=look) == "deny"
    assert decided(app.loosened([rule("deny")]), "bb") == "deny"
    assert app.loosened([]) == app
    assert decided(loosened, told_by_others=True) == "ask"


def test_a_called_app_may_nothing_that_the_calling_run_may_not() -> None:
    inner = Policy(rules=[rule("allow")])
    assert decided(Policy(rules=inner.rules, outer=Policy(rules=[rule("deny")]))) == "deny"
    assert decided(Policy(rules=inner.rules, outer=Policy(rules=[rule("ask")]))) == "ask"
    assert decided(Policy(rules=inner.rules, outer=Policy())) == "allow", "what it says nothing of is the app's"
    assert decided(Policy(outer=Policy(rules=[rule("allow")]))) == "ask", "and it loosens nothing"
    deep = Policy(rules=inner.rules, outer=Policy(rules=inner.rules, outer=Policy(rules=[rule("deny")])))
    assert decided(deep) == "deny"
    assert Policy.model_validate(deep.model_dump(mode="json")) == deep


def test_the_file_that_the_guide_shows_is_one(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/agents.md").read_text("utf-8")
    shown = guide.partition("## Apps")[2].partition("```yaml\n")[2].partition("```")[0]
    app = read_app(written(tmp_path, shown), "clerk")
    assert app.tools == ("fetch_page", "app/researcher")
