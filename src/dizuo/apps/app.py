"""The app file: an agent in one file, with the model, tools, policy and budget that it works with.

Shipped ones lie in the package (`ready/*.yaml`), the owner's own in DIZUO_HOME/apps, as NAME.yaml or NAME/app.yaml; one
of the owner's stands in the place of a shipped one of its name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from dizuo.agents.policy import Policy
from dizuo.agents.steps import APP_PREFIX, Budget
from dizuo.core.documents import Note
from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.platform.catalogue import Language, _

ASK = "ask"  # as knowledge: whoever starts the app names the knowledge base
NAME_PATTERN = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"

_SHIPPED = Path(__file__).parent / "ready"
_MOST_BYTES = 256 << 10
_NAME = re.compile(NAME_PATTERN)
_KINDS: Mapping[str, str] = {
    "string_type": _("must be text"),
    "int_type": _("must be a whole number"),
    "int_parsing": _("must be a whole number"),
    "int_from_float": _("must be a whole number"),
    "float_type": _("must be a number"),
    "float_parsing": _("must be a number"),
    "tuple_type": _("must be a list"),
    "list_type": _("must be a list"),
    "sequence_type": _("must be a list"),
    "model_type": _("must have keys and values"),
    "model_attributes_type": _("must have keys and values"),
    "mapping_type": _("must have keys and values"),
    "dict_type": _("must have keys and values"),
    "string_too_short": _("must not be empty"),
}


def called(app: str, knowledge: str = "") -> str:
    """What an app is called as a model: `app/NAME`, or `app/NAME/KNOWLEDGE` on a knowledge base that is named."""
    return f"{APP_PREFIX}{app}/{knowledge}" if knowledge else APP_PREFIX + app


class Words(Noun):
    """A text for people, in the languages that there are; one that is written once holds for both."""

    en: Annotated[str, Field(min_length=1)]
    zh: Annotated[str, Field(min_length=1)]

    def of(self, language: Language) -> str:
        """The text in a language."""
        return self.zh if language == "zh" else self.en


def _words(given: Any) -> Any:
    return {"en": given, "zh": given} if isinstance(given, str) else given


Localized = Annotated[Words, BeforeValidator(_words)]


class App(Noun):
    """An agent as its file describes it."""

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
    title: Localized
    description: Localized
    instructions: Annotated[str, Field(min_length=1, max_length=50_000)]
    model: Annotated[str, Field(max_length=128)] = ""  # "": the instance's
    knowledge: Annotated[str, Field(max_length=64)] = ""  # a knowledge base, or ASK, or none
    tools: tuple[str, ...] = ()  # names in the toolbox; other apps as app/NAME
    policy: Policy = Policy()
    budget: Budget = Budget()
    examples: tuple[Localized, ...] = ()  # goals to begin with

    @property
    def model_name(self) -> str:
        """What it is called as a model, and as a tool of other apps."""
        return called(self.name)


class FoundApp(Noun):
    """An app, or what is wrong with its file."""

    name: str
    source: Literal["shipped", "own"]
    file: str
    app: App | None
    problem: Note | None = None


class Apps:
    """The apps of an instance. Blocking; cheap to ask again: a file is read when it has changed."""

    def __init__(self, folder: Path, shipped: Path = _SHIPPED) -> None:
        """`folder` holds the owner's own; it need not be there."""
        self._folder = folder
        self._shipped = shipped
        self._read: dict[Path, tuple[tuple[int, int], FoundApp]] = {}

    def list(self) -> Sequence[FoundApp]:
        """All apps by name, those among them whose file cannot be used."""
        found = {one.name: one for one in self._all()}
        return [found[name] for name in sorted(found)]

    def usable(self) -> Sequence[App]:
        """Those that can be started."""
        return [one.app for one in self.list() if one.app is not None]

    def get(self, name: str) -> App:
        """One app, by its name with or without `app/`. Raises NotFound, and UserError where its file cannot be used."""
        found = self.find(name)
        if found.app is not None:
            return found.app
        assert found.problem is not None
        raise UserError(found.problem.template, **found.problem.params)

    def find(self, name: str) -> FoundApp:
        """The same with its place, and its problem where it has one. Raises NotFound."""
        name = name.removeprefix(APP_PREFIX)
        listed = self.list()
        for one in listed:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in listed if one.app is not None) or "-"
        raise NotFound("There is no app {name!r}. There are: {names}.", name=name[:80], names=names)

    def _all(self) -> Iterator[FoundApp]:
        for file in sorted(self._shipped.glob("*.yaml")):
            yield self._of(file, file.stem, "shipped")
        for file in sorted(self._folder.glob("*.yaml")):
            yield self._of(file, file.stem, "own")
        for file in sorted(self._folder.glob("*/app.yaml")):
            yield self._of(file, file.parent.name, "own")

    def _of(self, file: Path, name: str, source: Literal["shipped", "own"]) -> FoundApp:
        try:
            about = file.stat()
            stamp = about.st_mtime_ns, about.st_size
        except OSError:
            stamp = 0, 0
        known = self._read.get(file)
        if known is None or known[0] != stamp:
            known = stamp, _found(file, name, source)
            self._read[file] = known
        return known[1]


def read_app(file: Path, name: str = "") -> App:
    """The app that a file describes; it must be called `name`, where that is given.

    Raises UserError, which names the file and the key at fault.
    """
    told = _mapping(file)
    try:
        app = App.model_validate(told)
    except ValidationError as error:
        raise UserError("{file}: {faults}", file=file, faults=_Faults(error).note()) from None
    if name and app.name != name:
        raise UserError(
            "{file}: name is {found!r}, and the file is that of {wanted!r}.", file=file, found=app.name, wanted=name
        )
    if app.name == "user":  # the tool that calls it would be the one that asks the user
        raise UserError("{file}: name: an app cannot be called {name!r}.", file=file, name=app.name)
    if app.model_name in app.tools or app.model.startswith(APP_PREFIX):
        raise UserError("{file}: an app cannot call itself, nor think with an app.", file=file)
    return app


def _found(file: Path, name: str, source: Literal["shipped", "own"]) -> FoundApp:
    try:
        return FoundApp(name=name, source=source, file=str(file), app=read_app(file, name))
    except UserError as error:
        return FoundApp(name=name, source=source, file=str(file), app=None, problem=Note.of(error))


def _mapping(file: Path) -> Mapping[str, Any]:
    import yaml

    class Plain(yaml.SafeLoader):
        """YAML without aliases and with each key once: what stands there is what it says."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not taken")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _value in node.value if isinstance(key.value, str)]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.YAMLError(f"{twice} stands there twice")
            return super().construct_mapping(node, deep)

    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UserError("{file}: larger than {limit} bytes.", file=file, limit=_MOST_BYTES)
        told = yaml.load(data.decode("utf-8-sig"), Plain)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise UserError("{file}: cannot be read: {reason}", file=file, reason=error.strerror or "") from None
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            "{file}: no valid YAML: {reason}", file=file, reason=" ".join(str(error).split())[:500]
        ) from None
    if not isinstance(told, dict):
        raise UserError("{file}: must have keys and values: name, title, description, instructions.", file=file)
    return told


class _Faults:
    """What pydantic found, in words of the catalogue: one fault, by its key. A key that there is not comes first: where
    another is missing, it was meant."""

    def __init__(self, error: ValidationError) -> None:
        found = error.errors(include_url=False)
        self._first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])

    def note(self) -> Note:
        key = ".".join(str(part) for part in self._first["loc"])
        kind = self._first["type"]
        if kind == "extra_forbidden":
            return Note(template="there is no key {key!r}", params={"key": key})
        if kind == "missing":
            return Note(template="{key} is missing", params={"key": key})
        if kind == "string_pattern_mismatch" and key == "name":
            return Note(
                template="{key}: small letters, digits and hyphens, 40 at most; it begins and ends with one of the "
                "first two",
                params={"key": key},
            )
        known = _KINDS.get(kind)
        what = Note(template=known) if known else self._first["msg"]
        return Note(template="{key}: {what}", params={"key": key or "-", "what": what})
