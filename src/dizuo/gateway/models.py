"""The models an instance knows: what is listed, and a name turned into the model behind the protocols."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dizuo.core.documents import Note
from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.core.once import once
from dizuo.gateway.listing import kind_of
from dizuo.gateway.local_folders import HUB_PREFIX, PREFIX, SHIPPED, Kind, LocalFolder, LocalFolders, is_repository
from dizuo.gateway.model_cards import made, measured_calls, numbers, read_card
from dizuo.gateway.presets import presets
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.core.protocols import (
        ChatModel,
        Classifier,
        CompletionModel,
        Embedder,
        Reader,
        Reranker,
        Translator,
    )
    from dizuo.gateway.local import LocalEmbedder
    from dizuo.gateway.local_engines import Engines
    from dizuo.gateway.providers import Access, Providers
    from dizuo.gateway.remote_http import Endpoint

T = TypeVar("T")

LOCAL_EMBEDDER = "local/minilm"

# A writer of fewer parameters errs so often that whoever reads it has to be told.
SMALL_PARAMETERS = 1_000_000_000
# What faces say beside what such a one has written.
SMALL = _("a small model: check what it says")
_SHOWN_NAMES = 40
_MAX_MADE = 256  # remote models that are kept, since making one costs as much as a request

# What people call the kinds.
KIND_NAMES: dict[Kind, str] = {
    "chat": _("chat"),
    "completion": _("completion"),
    "embedding": _("embedding"),
    "rerank": _("rerank"),
    "classifier": _("classifier"),
    "reader": _("reader"),
    "translation": _("translation"),
    "reward": _("reward"),
    "backbone": _("backbone"),
    "unknown": _("unknown"),
}


class ModelInfo(Noun):
    """One line of the catalogue. `note` says in a sentence what the model is and where it runs.

    The last fields are known of local models. One with a `problem` cannot be used until that is mended.
    """

    name: str  # provider/name
    kind: Kind
    provider: str
    note: Note
    architecture: str = ""
    parameters: int = 0
    size_bytes: int = 0
    context_tokens: int = 0  # longest input
    origin: Literal["", "shipped", "trained", "added"] = ""
    state: Literal["", "idle", "loading", "loaded"] = ""
    problem: Note | None = None

    @property
    def small(self) -> bool:
        """Whether it writes, and is so small that it is often wrong."""
        return self.kind in ("chat", "completion") and 0 < self.parameters < SMALL_PARAMETERS


class Models:
    """Every model of the instance: what ships, the folders under DIZUO_HOME/models, what providers have, what the
    settings name.
    """

    def __init__(
        self,
        model: str = "",
        base_url: str = "",
        api_key: str = "",
        folder: Path | None = None,
        shipped: Path = SHIPPED,
        providers: "Callable[[], Providers] | None" = None,
    ) -> None:
        """`folder` is where a person's own models lie, each a folder in the Hugging Face layout."""
        self._model = model
        self._base_url = base_url
        self._api_key = api_key
        self._folders = LocalFolders(folder, shipped, reserved=[LOCAL_EMBEDDER.removeprefix(PREFIX)])
        self._providers = providers
        self._made: dict[tuple[Any, ...], Any] = {}

    def close(self) -> None:
        """Lets go of the engines that are loaded."""
        if "_engines" in self.__dict__:
            self._engines.close()

    # --- what there is ----------------------------------------------------------------------------------------

    def list(self) -> "list[ModelInfo]":
        """The models that can be asked for by name, and the folders that cannot be used. Loads none of them."""
        known = [
            ModelInfo(
                name=LOCAL_EMBEDDER,
                kind="embedding",
                provider="local",
                note=Note(template="English sentence embeddings (all-MiniLM-L6-v2), computed on this machine."),
                origin="shipped",
            ),
            *(self._described(folder) for folder in self._folders.list()),
        ]
        if self._model and not _is_local(self._model):
            note = Note(template="Writes the answers; named by the setting {setting}.", params={"setting": "model"})
            known.append(_remote_info(self._model, "chat", note))
        for name, provider in self._providers().listed() if self._providers else ():
            if name != self._model:
                known.append(_remote_info(name, kind_of(name), _of_provider(provider)))
        return known

    def get(self, name: str) -> ModelInfo:
        """One line of the catalogue; also for a model that its provider has not listed. Raises NotFound with the known
        names.
        """
        known = {info.name: info for info in reversed(self.list())}  # the first of a name that is taken twice
        if name in known:
            return known[name]
        provider, _slash, model = name.partition("/")
        if model and self._has_provider(provider):
            return _remote_info(name, kind_of(model), _of_provider(provider))
        if is_repository(name):
            self._folders.get(name)  # says how it is fetched
        raise NotFound("No model is named {name!r}. There are: {names}.", name=name, names=_some(list(known)))

    def is_small(self, name: str) -> bool:
        """Whether that is a model of this machine so small that what it writes is often wrong: faces say so beside it.
        False for what there is not."""
        return self._folders.has(name) and self._described(self._folders.get(name)).small

    def card(self, name: str) -> str:
        """The README.md of a local model: Markdown of whoever made it. Empty where there is none; a long one is cut."""
        return read_card(self._folders.get(name).path) if self._folders.has(name) else ""

    def provenance(self, name: str) -> dict[str, Any]:
        """How a local model was made, as its dizuo.json says; empty where nothing does."""
        return dict(self._folders.get(name).provenance) if self._folders.has(name) else {}

    def scores(self, name: str) -> "list[tuple[str, float]]":
        """The numbers of a local model's scores, nested ones by their path."""
        return list(numbers(self.provenance(name).get("scores")))

    def remove(self, name: str) -> ModelInfo:
        """Deletes a local model of the person's own. Raises NotFound, Conflict for one that ships with Dizuo."""
        info = self.get(name)
        self._folders.remove(name)
        self._engines.forget(name)
        return info

    # --- a name turned into a model ---------------------------------------------------------------------------

    def chat(self, name: str) -> "ChatModel":
        """The chat model of that name: a local one, or the one that the settings name.

        Raises NotFound with the known names, and UserError for settings that cannot work or a model of another kind.
        """
        if self._folders.has(name):
            from dizuo.gateway.local_chat import LocalChatModel

            folder = self._local(name)
            if folder.kind == "completion":
                raise UserError(
                    "The model {name} continues texts and was not trained to chat (it has no chat template). Ask it by "
                    "/v1/completions, or train it for chat first.",
                    name=name,
                )
            self._must_be(folder, "chat")
            return LocalChatModel(folder, self._engines)
        from dizuo.gateway.remote import RemoteModel

        return self._remote(RemoteModel, name, "chat", "model (DIZUO_MODEL)", in_dialect=True)

    def completion(self, name: str) -> "CompletionModel":
        """The model of that name as one that continues texts. Raises NotFound, and UserError for other kinds."""
        if not _is_local(name):
            from dizuo.gateway.remote_calls import RemoteCompletionModel

            return self._remote(RemoteCompletionModel, name, "completion")
        from dizuo.gateway.local_completion import LocalCompletionModel

        return LocalCompletionModel(self._local(name, "completion", "chat"), self._engines)

    def embedder(self, name: str) -> "Embedder":
        """The embedder of that name. Loads its weights when it first embeds.

        Raises NotFound with the known names, and UserError for a local model of another kind.
        """
        if name == LOCAL_EMBEDDER:
            return self._minilm
        if not self._folders.has(name):
            from dizuo.gateway.remote_calls import RemoteEmbedder

            return self._remote(RemoteEmbedder, name, "embedding", "embedder (DIZUO_EMBEDDER)")
        from dizuo.gateway.local import FolderEmbedder

        return FolderEmbedder(self._local(name, "embedding"), self._engines)

    def reranker(self, name: str) -> "Reranker":
        """The model of that name that scores pairs. Raises NotFound, and UserError for other kinds."""
        if not _is_local(name):
            from dizuo.gateway.remote_calls import RemoteReranker

            return self._remote(RemoteReranker, name, "rerank")
        from dizuo.gateway.local import LocalReranker

        return LocalReranker(self._local(name, "rerank"), self._engines)

    def access(self, name: str) -> "Access":
        """How a remote chat model is reached, with its key. Raises what `chat` raises."""
        return self._reached(name, "chat", "model (DIZUO_MODEL)")[0]

    def endpoint(self, name: str) -> "Endpoint":
        """A provider's model as a bare endpoint, for what only providers do: moderation, pictures. Raises NotFound."""
        from dizuo.gateway.remote_http import Endpoint

        return self._remote(Endpoint, name, "unknown")

    def classifier(self, name: str) -> "Classifier":
        """The classifier of that name. Raises NotFound, and UserError for other kinds."""
        from dizuo.gateway.local import LocalClassifier

        return LocalClassifier(self._local(name, "classifier"), self._engines)

    def reader(self, name: str) -> "Reader":
        """The reader of that name. Raises NotFound, and UserError for other kinds."""
        from dizuo.gateway.local import LocalReader

        return LocalReader(self._local(name, "reader"), self._engines)

    def translator(self, name: str) -> "Translator":
        """The translator of that name. Raises NotFound, and UserError for other kinds."""
        from dizuo.gateway.local import LocalTranslator

        return LocalTranslator(self._local(name, "translation"), self._engines)

    # ----------------------------------------------------------------------------------------------------------

    def _remote(
        self, make: "Callable[..., T]", name: str, kind: Kind, setting: str = "", *, in_dialect: bool = False
    ) -> T:
        access, where = self._reached(name, kind, setting)
        if in_dialect:
            where = {**where, "preset": access.preset}
        made_by = (make, name, access)
        made = self._made.get(made_by)
        if made is None:
            made = make(name, access.base_url, access.key, **where)
            if len(self._made) >= _MAX_MADE:
                self._made.clear()
            self._made[made_by] = made
        return made

    def _reached(self, name: str, kind: Kind, setting: str) -> "tuple[Access, dict[str, str]]":
        """How a model is reached: at one of the providers that were added, or at the implicit one of the setting
        `model`; and what its messages name as the place to change that.
        """
        from dizuo.gateway.providers import Access

        provider, _slash, model = name.partition("/")
        by_setting = bool(self._model) and name == self._model and not _is_local(name)
        if by_setting and not (provider and model):
            raise UserError(
                "The setting model is {name!r}; it must be provider/name, such as ollama/qwen3 or openai/gpt-5-mini.",
                name=name,
            )
        if model and self._has_provider(provider) and not (by_setting and (self._base_url or self._api_key)):
            assert self._providers is not None
            return self._providers().access(provider), {"settings": f"dizuo provider show {provider}"}
        if by_setting:
            base_url = self._base_url or _usual_base(provider)
            if not base_url:
                raise UserError(
                    "Nothing says where the model {name!r} is reached. Set model_base_url (DIZUO_MODEL_BASE_URL) "
                    "to its OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1.",
                    name=name,
                )
            return Access(base_url, self._api_key, "" if self._base_url else provider), {}
        raise self._unknown(name, provider if model else "", kind, setting)

    def _has_provider(self, provider: str) -> bool:
        return self._providers is not None and self._providers().has(provider)

    def _unknown(self, name: str, provider: str, kind: Kind, setting: str) -> NotFound:
        if is_repository(name):
            self._folders.get(name)  # says how it is fetched
        if provider in presets():
            return NotFound(
                "The provider of {name!r} has not been added. Add it: dizuo provider add {provider}",
                name=name,
                provider=provider,
            )
        if not setting:
            return NotFound(
                "No model named {name!r} does that. There are: {names}. A provider is added with: dizuo provider add",
                name=name,
                names=self._names(kind),
            )
        template = (
            _("No chat model is named {name!r}. There are: {names}. Name one with the setting {setting}.")
            if kind == "chat"
            else _("No embedding model is named {name!r}. There are: {names}. Name one with the setting {setting}.")
        )
        return NotFound(template, name=name, names=self._names(kind), setting=setting)

    def _local(self, name: str, *kinds: Kind) -> LocalFolder:
        if not _is_local(name) or name == LOCAL_EMBEDDER:
            raise NotFound(
                "No local model named {name!r} does that. There are: {names}.",
                name=name,
                names=self._names(*kinds),
            )
        folder = self._folders.usable(name)
        self._must_be(folder, *kinds)
        return folder

    def _must_be(self, folder: LocalFolder, *kinds: Kind) -> None:
        if kinds and folder.kind not in kinds:
            raise UserError(
                "The model {name} is of the kind {kind}; this needs {needed}. There are: {names}.",
                name=folder.name,
                kind=Note(template=KIND_NAMES[folder.kind]),
                needed=Note(template=KIND_NAMES[kinds[0]]),
                names=self._names(*kinds),
            )

    def _described(self, folder: LocalFolder) -> ModelInfo:
        origin = "trained" if folder.provenance and not folder.shipped else "shipped" if folder.shipped else "added"
        info = ModelInfo(
            name=folder.name,
            kind=folder.kind,
            provider="hf" if folder.name.startswith(HUB_PREFIX) else "local",
            note=made(folder),
            architecture=folder.architecture,
            parameters=folder.parameters,
            size_bytes=folder.size_bytes,
            context_tokens=folder.context_tokens,
            origin=origin,
            state=self._engines.state(folder.name),
            problem=folder.problem,
        )
        if (calls := measured_calls(folder)) is not None:
            name, exact, free, n = calls
            told = Note(
                template="{what} Of {n} calls of tools (BFCL) it picks the right tool in {name} and gets every "
                "argument right in {exact} (written freely: {free}).",
                params={
                    "what": info.note,
                    "n": n,
                    "name": f"{name:.0%}",
                    "exact": f"{exact:.0%}",
                    "free": f"{free:.0%}",
                },
            )
            info = info.model_copy(update={"note": told})
        if not info.small:
            return info
        labelled = Note(
            template="{what} It is a small model: what it writes is often wrong. Check it.", params={"what": info.note}
        )
        return info.model_copy(update={"note": labelled})

    @once
    def _minilm(self) -> "LocalEmbedder":
        from dizuo.gateway.local import LocalEmbedder

        return LocalEmbedder()

    @once
    def _engines(self) -> "Engines":
        from dizuo.gateway.local_engines import Engines

        return Engines()

    def _names(self, *kinds: Kind) -> str:
        return _some([info.name for info in self.list() if info.kind in kinds and not info.problem])


def _is_local(name: str) -> bool:
    """Whether the name is one of this machine's."""
    return name.startswith((PREFIX, HUB_PREFIX))


def _some(names: "list[str]") -> str:
    """Names for a message; a provider may list hundreds."""
    return ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "") or "-"


def _usual_base(provider: str) -> str:
    preset = presets().get(provider)
    return preset.base_url if preset else ""


def _remote_info(name: str, kind: Kind, note: Note) -> ModelInfo:
    return ModelInfo(name=name, kind=kind, provider=name.partition("/")[0], note=note)


def _of_provider(provider: str) -> Note:
    return Note(template="A model of the provider {provider}; it is asked there.", params={"provider": provider})
