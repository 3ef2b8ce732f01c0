"""Files that a run gets with its goal: picked in the form, sent once the run is there and rests."""

import asyncio
from typing import Any
from urllib.parse import quote

from dizuo.core.errors import UserError
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem
from dizuo.studio.page import Page

# The JavaScript, for `Page.on`, that emits the fields of a form by name, and how many files are picked.
VALUES_AND_FILES = (
    "(event) => emit({...Object.fromEntries(new FormData(event.target)), "
    "files: String(document.getElementById('run-files').files.length)})"
)


class PickedFiles:
    """The field. The form starts its run with `hold` where files are picked, and calls `send`."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._run_id = ""
        self._problem: Problem | None = None
        with page.el("div"):
            page.text("label", "label", _("Files")).props["for"] = "run-files"
            # Without a name: what the form emits goes through the socket, the files go to the API.
            field = page.el("input", "field", type="file", id="run-files", multiple=True)
            field.props["aria-describedby"] = "run-files-hint"
            page.text(
                "p", "hint", _("It gets copies, such as of tables to work on or of files to put in order.")
            ).props["id"] = "run-files-hint"
        self._sending = page.text("p", "muted small", _("The files are on their way…"))
        self._sending.props.update({"hidden": True, "role": "status"})
        page.listen("studio_picked", self._sent)

    async def send(self, run_id: str, problem: Problem) -> None:
        """Has the browser send the files to a run that rests; it goes on and is shown when they are there."""
        self._run_id, self._problem = run_id, problem
        self._sending.props["hidden"] = False
        self._page.run("studio.sendPicked", "run-files", f"/api/runs/{quote(run_id, safe='')}/files")

    async def _sent(self, answer: dict[str, Any]) -> None:
        page, runs = self._page, self._page.house.runs
        run_id, self._run_id = self._run_id, ""
        self._sending.props["hidden"] = True
        if not run_id or self._problem is None:
            return
        if answer.get("ok"):
            await asyncio.to_thread(runs.resume, run_id, page.user.id)
            page.run("studio.go", f"/runs/{run_id}")
            return
        await asyncio.to_thread(runs.cancel, run_id, page.user.id)
        reason = str(answer.get("message") or page.t(_("the connection broke off")))
        self._problem.say(UserError("The files could not be given: {reason}", reason=reason))
