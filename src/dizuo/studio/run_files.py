"""Files of a run on its page: what tools have made, shown; all there is, to be saved; more to be given."""

import asyncio
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from nicegui.element import Element

from dizuo.agents.steps import Step, ToolEnded
from dizuo.agents.workspace import RunFile
from dizuo.core.errors import DizuoError
from dizuo.core.tools import Artifact
from dizuo.platform.catalogue import _
from dizuo.studio.page import Handler, Page
from dizuo.studio.run_texts import storable
from dizuo.studio.upload import Upload

_MOST_SHOWN = 60  # pictures and tables of one page; the rest is there to be saved
_MOST_LISTED = 200


class Artifacts:
    """What tools have made, wherever on the page that is shown. Nothing of it is HTML: a picture is an <img>, in which
    no script runs, and a table's cells are text."""

    def __init__(self, page: Page, run_id: str) -> None:
        self._page = page
        self._run_id = run_id
        self._left: list[tuple[Element, str, int]] = []  # tables that have a place and are not read yet
        self._shown = 0

    def add(self, artifacts: Iterable[Artifact], rows: int) -> None:
        """Shows them here; of tables as many rows, once `fill` has read them."""
        with self._page.el("div", "artifacts"):
            for one in artifacts:
                self._add(one, rows)

    async def fill(self) -> None:
        """Reads the tables that have come."""
        left, self._left = self._left, []
        for place, path, rows in left:
            await self._table(place, path, rows)

    def _add(self, artifact: Artifact, rows: int) -> None:
        page = self._page
        name = storable(artifact.path)
        with page.el("figure", "artifact card"):
            if artifact.kind != "file" and self._shown < _MOST_SHOWN:
                self._shown += 1
                if artifact.kind == "image":
                    # The number keeps a browser from showing an earlier picture of the same name.
                    source = f"{address(self._run_id, 'pictures', artifact.path)}?version={self._shown}"
                    picture = page.el("img", "", src=source, decoding="async")
                    page.name(picture, "alt", _("Picture: {path}"), path=name)
                else:
                    self._left.append((page.el("div", "artifact-table"), artifact.path, rows))
            with page.el("figcaption", "small"):
                save_link(page, self._run_id, artifact.path)
                page.el("span", "muted", page.size(artifact.size_bytes))

    async def _table(self, place: Element, path: str, rows: int) -> None:
        page, files = self._page, self._page.house.run_files
        try:
            table = await asyncio.to_thread(files.table, self._run_id, path, page.user.id)
        except DizuoError as error:
            with place:
                page.text("p", "muted small", error.template, **error.params)
            return
        if place.is_deleted:
            return
        with place, page.el("table"):
            with page.el("thead"), page.el("tr"):
                for column in table.columns:
                    page.el("th", "", storable(column), scope="col")
            with page.el("tbody"):
                for row in table.rows[:rows]:
                    with page.el("tr"):
                        for cell in row:
                            page.el("td", "", storable(cell))
        if table.more or len(table.rows) > rows:
            with place:
                page.text("p", "muted small", _("Its beginning. Save the file to see all of it."))


class FileList:
    """All files of a run, and a place to give it more."""

    def __init__(self, page: Page, run_id: str, on_given: Handler) -> None:
        self._page = page
        self._run_id = run_id
        self._shown: Sequence[RunFile] | None = None
        with page.el("section", "card stack", hidden=True, id="files") as self._root:
            with page.el("div", "row"):
                page.text("h2", "grow", _("Files"))
                self._all = page.el("a", "button small", href=f"/api/runs/{quote(run_id, safe='')}/archive")
                with self._all:
                    page.icon("download")
                    page.text("span", "", _("All as one ZIP"))
            self._list = page.el("ul", "run-files")
            with page.el("details") as self._more:
                page.text("summary", "", _("Give it files"))
                Upload(
                    page,
                    f"/api/runs/{quote(run_id, safe='')}/files",
                    on_given,
                    title=_("Drop files or folders here"),
                    kinds=_("It gets copies; none of its files is replaced."),
                )

    async def look(self, *, ended: bool) -> None:
        """Shows what there is now."""
        page = self._page
        found = await asyncio.to_thread(page.house.run_files.list, self._run_id, page.user.id)
        if page.client.is_deleted:
            return
        self._root.props["hidden"] = ended and not found
        self._more.props["hidden"] = ended
        if found == self._shown:
            return
        self._shown = found
        self._all.props["hidden"] = not found
        self._list.clear()
        with self._list:
            for one in found[:_MOST_LISTED]:
                with page.el("li", "small"):
                    save_link(page, self._run_id, one.path)
                    page.el("span", "muted", page.size(one.size_bytes))
            if len(found) > _MOST_LISTED:
                with page.el("li", "muted small"):
                    page.text("span", "", _("{n} more are in the ZIP."), n=page.number(len(found) - _MOST_LISTED))


def address(run_id: str, what: str, path: str) -> str:
    """Where the API has a file of a run."""
    return f"/api/runs/{quote(run_id, safe='')}/{what}/{quote(path)}"


def save_link(page: Page, run_id: str, path: str) -> None:
    """A file's name, to save it by."""
    link = page.el("a", "file-name", storable(path), href=address(run_id, "files", path), download=True)
    page.name(link, "title", _("Save {path}"), path=storable(path))


def last_made(steps: Iterable[Step]) -> list[Artifact]:
    """The pictures and tables that a run has made, each as its last change left it."""
    made: dict[str, Artifact] = {}
    for step in steps:
        if isinstance(step, ToolEnded):
            for one in step.result.artifacts:
                made.pop(one.path, None)
                made[one.path] = one
    return [one for one in made.values() if one.kind != "file"]
