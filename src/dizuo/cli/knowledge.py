"""`dizuo knowledge …`: what documents there are, in and out, and finding things in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dizuo.cli.command import Yes, command, group
from dizuo.cli.job import NoWait
from dizuo.cli.terminal import INTERRUPTED, Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.core.documents import Document, DocumentText, Hit, SearchResult
    from dizuo.core.jobs import Job
    from dizuo.knowledge.library import Library
    from dizuo.wiring import House

app = group(_("Knowledge bases: named collections of documents."))

_PAGE = 500
_LISTED = 20  # losses and failures told one by one; the rest is a command away
_SNIPPET = 300

_Name = Annotated[str, typer.Argument(metavar="NAME", help=_("The knowledge base."))]


@command(app, "add", _("Add files, folders and archives; makes the knowledge base when it is new."))
def add(
    terminal: Terminal,
    name: _Name,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help=_("Files, folders or archives."))],
    no_wait: NoWait = False,
) -> None:
    with terminal.house() as house:
        with terminal.waiting(terminal.t("Looking at the files…")):
            job = house.library.add(name, paths)
        _finish(terminal, house, job, no_wait)


@command(app, "sync", _("Make a knowledge base mirror a folder: new, changed and deleted files."))
def sync(
    terminal: Terminal,
    name: _Name,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help=_("The folder to mirror."))],
    no_wait: NoWait = False,
) -> None:
    with terminal.house() as house:
        with terminal.waiting(terminal.t("Looking at the files…")):
            job = house.library.sync(name, folder)
        _finish(terminal, house, job, no_wait)


def _finish(terminal: Terminal, house: "House", job: "Job", no_wait: bool) -> None:
    """Follows the job, tells what came of it, and ends with 1 when nothing did."""
    from dizuo.cli.progress import follow
    from dizuo.knowledge.outcome import outcome

    if no_wait:
        if terminal.as_json:
            terminal.show_json(job.model_dump(mode="json"))
        else:
            terminal.show(job.id)
            terminal.say(
                terminal.t("A running server (dizuo up) does the work; so does: dizuo job watch {job}", job=job.id)
            )
        return
    follow(terminal, house.jobs, job)
    result = outcome(house.jobs, job.id)
    t = terminal.t
    if terminal.as_json:
        document = result.model_dump(mode="json", exclude={"error"})
        document["failed"] = [{"source": f.source, "error": terminal.note(f.error)} for f in result.failed]
        terminal.show_json(document)
    else:
        counts = [
            t("{count} added", count=result.added),
            t("{count} changed", count=result.changed) if result.changed else "",
            t("{count} unchanged", count=result.unchanged) if result.unchanged else "",
            t("{count} removed", count=result.removed) if result.removed else "",
            t("{count} failed", count=len(result.failed)) if result.failed else "",
        ]
        terminal.show(f"{job.subject}: {', '.join(filter(None, counts))}")
        lost = [
            (r.source, note) for r in result.reports if r.report and r.status != "unchanged" for note in r.report.lost
        ]
        _tell_some(terminal, lost, style="yellow")
    if len(result.failed) + len(result.reports) > 1 or result.added:
        _tell_some(terminal, [(f.source, f.error) for f in result.failed], style="red")
    result.raise_if_nothing_came_of_it()
    if result.status == "cancelled":
        terminal.say(t("Cancelled. What is in stays in; the same command goes on with the rest."), style="yellow")
        raise typer.Exit(INTERRUPTED)


def _tell_some(terminal: Terminal, notes: list[tuple[str, Any]], style: str) -> None:
    for source, note in notes[:_LISTED]:
        terminal.say(f"{source}: {terminal.note(note)}", style=style)
    if len(notes) > _LISTED:
        terminal.say(terminal.t("… and {count} more; --json lists all.", count=len(notes) - _LISTED), style=style)


@command(app, "list", _("List the knowledge bases."))
def list_(terminal: Terminal) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        bases = house.library.list()
    if terminal.as_json:
        terminal.show_json({"knowledge": [base.model_dump(mode="json") for base in bases]})
        return
    t = terminal.t
    if not bases:
        terminal.say(t("There is no knowledge base yet. Make one: dizuo knowledge add NAME PATH"))
        return
    show_table(
        terminal,
        (t("Name"), t("Documents"), t("Chunks"), t("Characters"), t("Created")),
        [(b.name, b.documents, b.chunks, b.characters, when(b.created_at)) for b in bases],
        right=(1, 2, 3),
    )


@command(app, "show", _("Show a knowledge base, or one of its documents."))
def show(
    terminal: Terminal,
    name: _Name,
    document: Annotated[
        str | None, typer.Argument(metavar="[DOCUMENT]", help=_("Name or id of a document."), show_default=False)
    ] = None,
    chunks: Annotated[bool, typer.Option("--chunks", help=_("Show the document's chunks."))] = False,
) -> None:
    if chunks and document is None:
        raise typer.BadParameter(terminal.t("--chunks shows the chunks of one DOCUMENT; name it."))
    with terminal.house() as house:
        if document is not None:
            _show_document(terminal, house.library.document(name, document), chunks)
            return
        info = house.library.get(name)
        if terminal.as_json:
            documents = [d.model_dump(mode="json") for d in _all_documents(house.library, name)]
            terminal.show_json({"knowledge": info.model_dump(mode="json"), "documents": documents})
            return
        _show_documents(terminal, _all_documents(house.library, name))
    summary = terminal.t(
        "{name}: {documents} documents, {chunks} chunks, {characters} characters",
        name=info.name,
        documents=info.documents,
        chunks=info.chunks,
        characters=info.characters,
    )
    terminal.say(summary, style="dim")


def _all_documents(library: "Library", name: str) -> "Iterator[Document]":
    offset = 0
    while page := library.documents(name, limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _show_documents(terminal: Terminal, documents: "Iterator[Document]") -> None:
    from dizuo.cli.table import show_table, size, when

    t = terminal.t
    show_table(
        terminal,
        (t("Document"), t("Format"), t("Size"), t("Pages"), t("Chunks"), t("Changed"), t("Lost")),
        [
            (
                d.name,
                d.report.format,
                size(d.size_bytes),
                d.report.pages or "-",
                d.report.chunks,
                when(d.changed_at),
                len(d.report.lost) or "-",
            )
            for d in documents
        ],
        right=(2, 3, 4, 6),
    )


def _show_document(terminal: Terminal, content: "DocumentText", chunks: bool) -> None:
    from dizuo.cli.table import size, when

    if terminal.as_json:
        terminal.show_json(content.model_dump(mode="json"))
        return
    t, show, document, report = terminal.t, terminal.show, content.document, content.document.report
    show(document.name, style="bold")
    facts = [
        (t("Source"), document.source),
        (t("ID"), document.id),
        (t("Format"), f"{report.format}, {document.media_type}" + (f", {report.encoding}" if report.encoding else "")),
        (t("Size"), size(document.size_bytes)),
        (t("Pages"), report.pages),
        (t("Characters"), report.characters),
        (t("Chunks"), report.chunks),
        (t("Added"), when(document.added_at)),
        (t("Changed"), when(document.changed_at)),
        *document.meta.items(),
    ]
    for label, value in facts:
        if value is not None:
            show(f"{label}: {value}")
    for note in report.lost:
        show(terminal.note(note), style="yellow")
    if not chunks:
        return
    for number, chunk in enumerate(content.chunks, start=1):
        place = [f"#{number}", chunk.kind, f"{chunk.start}–{chunk.end}"]
        if chunk.page is not None:
            place.append(t("page {page}", page=chunk.page))
        if chunk.heading:
            place.append(chunk.heading)
        show()
        show(" · ".join(place), style="bold cyan")
        show(chunk.text)


def _filters(pairs: list[str]) -> dict[str, str]:
    filters: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r}: KEY=VALUE", param_hint="--filter")
        filters[key.strip()] = value.strip()
    return filters


@command(app, "search", _("Find passages by words and by meaning."))
def search(
    terminal: Terminal,
    name: _Name,
    query: Annotated[str, typer.Argument(metavar="QUERY", help=_("What to look for."))],
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help=_("Most hits to show."))] = 10,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help=_(
                "Only hits whose document, source, format, heading, page or other property is VALUE; may be repeated."
            ),
            show_default=False,
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help=_("Show how each way of searching ranked a hit."))] = False,
) -> None:
    filters = _filters(filter or [])
    with terminal.house() as house:
        user_id = house.identity.owner().id
        with house.traces.traced("dizuo knowledge search", "cli", app=f"knowledge/{name}", user_id=user_id):
            result = house.library.search(name, query, limit=limit, filters=filters or None)
    if terminal.as_json:
        terminal.show_json(result.model_dump(mode="json"))
        return
    if not result.hits:
        terminal.say(terminal.t("Nothing was found."))
    for number, hit in enumerate(result.hits, start=1):
        _show_hit(terminal, number, hit, explain)
    if explain:
        _show_weights(terminal, result)


def _show_hit(terminal: Terminal, number: int, hit: "Hit", explain: bool) -> None:
    place = [hit.document]
    if hit.page is not None:
        place.append(terminal.t("page {page}", page=hit.page))
    if hit.heading:
        place.append(hit.heading)
    terminal.show(f"{number}. {' · '.join(place)}  {hit.score:.3f}", style="bold cyan")
    if explain:
        for leg, seen in hit.legs.items():
            rank = terminal.t("{leg}: rank {rank}, score {score}", leg=leg, rank=seen.rank, score=f"{seen.score:.3f}")
            terminal.show("   " + rank, style="green")
    text = " ".join(hit.text.split())
    terminal.show("   " + (text if len(text) <= _SNIPPET else text[:_SNIPPET] + "…"))
    terminal.show()


def _show_weights(terminal: Terminal, result: "SearchResult") -> None:
    for leg, weight in result.weights.items():
        terminal.show(terminal.t("{leg} counts {weight}", leg=leg, weight=f"{weight:.2f}"))
    for note in result.notes:
        terminal.show(terminal.note(note), style="yellow")


@command(app, "remove", _("Remove a document, or the whole knowledge base, with every trace."))
def remove(
    terminal: Terminal,
    name: _Name,
    document: Annotated[
        str | None,
        typer.Argument(
            metavar="[DOCUMENT]", help=_("Name or id of a document; without it all of them go."), show_default=False
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    t = terminal.t
    with terminal.house() as house:
        if document is None:
            info = house.library.get(name)
            question = t("Remove the knowledge base {name} with {count} documents?", name=name, count=info.documents)
            removed: dict[str, Any] = {"knowledge": name, "documents": info.documents}
            done = t("Removed the knowledge base {name} with {count} documents.", name=name, count=info.documents)
        else:
            found = house.library.document(name, document).document
            question = t("Remove {document} from {name}?", document=found.name, name=name)
            removed = {"knowledge": name, "document": found.name, "document_id": found.id}
            done = t("Removed {document} from {name}.", document=found.name, name=name)
        terminal.confirm(question, yes=yes)
        house.library.remove(name, document)
    if terminal.as_json:
        terminal.show_json({"removed": removed})
    else:
        terminal.show(done)
