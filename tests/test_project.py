"""What the project says of itself is true."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def declared() -> tuple[set[str], set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in requirements}

    return names(project["dependencies"]), names(project["optional-dependencies"]["dev"])


def test_every_dependency_has_its_reason_and_every_reason_its_dependency() -> None:
    runtime, dev = declared()
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    for_use, for_development = text.split("## For development only")
    rows = [set(re.findall(r"^\| ([a-z0-9-]+) \|", part, re.M)) - {"package"} for part in (for_use, for_development)]
    assert rows == [runtime, dev]


def test_every_dependency_is_pinned() -> None:
    runtime, dev = declared()
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert runtime | dev <= pinned


def test_importing_dizuo_loads_nothing_heavy() -> None:
    heavy = ["a2a", "torch", "transformers", "faiss", "nicegui", "markitdown", "dbos", "fastapi", "pandas"]
    code = f"import sys, dizuo, dizuo.wiring, dizuo.knowledge.library; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_guide_exists_in_both_languages_side_by_side() -> None:
    guide = ROOT / "src/dizuo/guide"
    sections = {
        language: sum(text.read_text("utf-8").count("\n## ") for text in (guide / language).glob("*.md"))
        for language in ("en", "zh")
    }
    assert sections["en"] == sections["zh"] > 10


def test_no_room_is_empty_and_no_file_holds_two_ideas() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in (ROOT / "src").rglob("*.py")
        if (lines := len(file.read_text("utf-8").splitlines())) > 600
    }
    assert long == {}


def test_every_relative_link_in_the_documentation_leads_somewhere() -> None:
    broken = [
        f"{file.name}: {target}"
        for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", file.read_text("utf-8"))
        if not (file.parent / target).exists()
    ]
    assert broken == []
