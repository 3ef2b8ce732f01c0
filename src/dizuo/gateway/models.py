"""The models an instance knows: what is listed, and a name turned into the model behind the protocols."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dizuo.core.documents import Note
from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.core.once import once
from dizuo.gateway.local_folders import PREFIX, SHIPPED, Kind, LocalFolder, LocalFolders, count
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

LOCAL_EMBEDDER = "local/minilm"

# Where a provider's OpenAI-compatible endpoint is when the person gave no other.
BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "ollama": "http://127.0.0.1:11434/v1",
}
# A writer of fewer parameters errs so often that whoever reads it has to be told.
SMALL_PARAMETERS = 1_000_000_000
_CARD_CHARS = 100_000  # several times as long as real ones

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
    """Every model of the instance: what ships, the folders under DIZUO_HOME/models, what the settings name."""

    def __init__(
        self,
        model: str = "",
        base_url: str = "",
        api_key: str = "",
        folder: Path | None = None,
        shipped: Path = SHIPPED,
    ) -> None:
        """`folder` is where a person's own models lie, each a folder in the Hugging Face layout."""
        self._model = model
        self._base_url = base_url
        self._api_key = api_key
        self._folders = LocalFolders(folder, shipped, reserved=[LOCAL_EMBEDDER.removeprefix(PREFIX)])

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
        if self._model and not self._model.startswith(PREFIX):
            known.append(
                ModelInfo(
                    name=self._model,
                    kind="chat",
                    provider=self._model.partition("/")[0],
                    note=Note(
                        template="Writes the answers; named by the setting {setting}.", params={"setting": "model"}
                    ),
                )
            )
        return known

    def get(self, name: str) -> ModelInfo:
        """One line of the catalogue. Raises NotFound with the known names."""
        known = {info.name: info for info in reversed(self.list())}  # the first of a name that is taken twice
        if name not in known:
            raise NotFound("No model is named {name!r}. There are: {names}.", name=name, names=", ".join(known))
        return known[name]

    def card(self, name: str) -> str:
        """The README.md of a local model: Markdown of whoever made it. Empty where there is none; a long one is cut."""
        if not self._folders.has(name):
            return ""
        folder = self._folders.get(name).path.resolve()
        file = (folder / "README.md").resolve()
        # A link in an unpacked archive must not show another file of this machine; the Hugging Face cache links so.
        homes = [folder, folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else [folder]
        if not file.is_file() or not any(file.is_relative_to(home) for home in homes):
            return ""
        with file.open(encoding="utf-8", errors="replace") as card:
            return card.read(_CARD_CHARS)

    def provenance(self, name: str) -> dict[str, Any]:
        """How a local model was made, as its dizuo.json says; empty where nothing does."""
        return dict(self._folders.get(name).provenance) if self._folders.has(name) else {}

    def scores(self, name: str) -> "list[tuple[str, float]]":
        """The numbers of a local model's scores, nested ones by their path."""
        return list(_numbers("", self.provenance(name).get("scores")))

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
        if not self._model or name != self._model or name.startswith(PREFIX):
            raise NotFound(
                "No chat model is named {name!r}. There are: {names}. Name one with the setting {setting}.",
                name=name,
                names=self._names("chat"),
                setting="model (DIZUO_MODEL)",
            )
        provider, _slash, model = name.partition("/")
        if not provider or not model:
            raise UserError(
                "The setting model is {name!r}; it must be provider/name, such as ollama/qwen3 or openai/gpt-5-mini.",
                name=name,
            )
        base_url = self._base_url or BASE_URLS.get(provider, "")
        if not base_url:
            raise UserError(
                "Nothing says where the model {name!r} is reached. Set model_base_url (DIZUO_MODEL_BASE_URL) "
                "to its OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1.",
                name=name,
            )
        from dizuo.gateway.remote import RemoteModel

        return RemoteModel(name, base_url, self._api_key)

    def completion(self, name: str) -> "CompletionModel":
        """The local model of that name as one that continues texts. Raises NotFound, and UserError for other kinds."""
        from dizuo.gateway.local_completion import LocalCompletionModel

        return LocalCompletionModel(self._local(name, "completion", "chat"), self._engines)

    def embedder(self, name: str) -> "Embedder":
        """The embedder of that name. Loads its weights when it first embeds.

        Raises NotFound with the known names, and UserError for a local model of another kind.
        """
        if name == LOCAL_EMBEDDER:
            return self._minilm
        if not self._folders.has(name):
            raise NotFound(
                "No embedding model is named {name!r}. There are: {names}. Name one with the setting {setting}.",
                name=name,
                names=self._names("embedding"),
                setting="embedder (DIZUO_EMBEDDER)",
            )
        from dizuo.gateway.local import FolderEmbedder

        return FolderEmbedder(self._local(name, "embedding"), self._engines)

    def reranker(self, name: str) -> "Reranker":
        """The model of that name that scores pairs. Raises NotFound, and UserError for other kinds."""
        from dizuo.gateway.local import LocalReranker

        return LocalReranker(self._local(name, "rerank"), self._engines)

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

    def _local(self, name: str, *kinds: Kind) -> LocalFolder:
        if not name.startswith(PREFIX) or name == LOCAL_EMBEDDER:
            wanted = kinds or ("chat",)
            raise NotFound(
                "No local model named {name!r} does that. There are: {names}.",
                name=name,
                names=", ".join(info.name for info in self.list() if info.kind in wanted and not info.problem) or "-",
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
                names=", ".join(info.name for info in self.list() if info.kind in kinds and not info.problem) or "-",
            )

    def _described(self, folder: LocalFolder) -> ModelInfo:
        origin = "trained" if folder.provenance and not folder.shipped else "shipped" if folder.shipped else "added"
        info = ModelInfo(
            name=folder.name,
            kind=folder.kind,
            provider="local",
            note=_made(folder),
            architecture=folder.architecture,
            parameters=folder.parameters,
            size_bytes=folder.size_bytes,
            context_tokens=folder.context_tokens,
            origin=origin,
            state=self._engines.state(folder.name),
            problem=folder.problem,
        )
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

    def _names(self, kind: str) -> str:
        return ", ".join(info.name for info in self.list() if info.kind == kind and not info.problem) or "-"


def _numbers(path: str, value: Any) -> "Iterator[tuple[str, float]]":
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{path} · {key}" if path else str(key), inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def _made(folder: LocalFolder) -> Note:
    """What a local model is and how it came about."""
    what = {"parameters": count(folder.parameters), "architecture": folder.architecture or "-"}
    recipe = folder.provenance.get("recipe")
    data = folder.provenance.get("data")
    named = recipe.get("name") if isinstance(recipe, dict) else None
    sets = (
        [str(one["name"]) for one in data if isinstance(one, dict) and "name" in one] if isinstance(data, list) else []
    )
    if named and sets:
        shown = ", ".join(sets[:4]) + (", …" if len(sets) > 4 else "")
        return Note(
            template="{parameters} parameters ({architecture}), trained with Dizuo by the recipe {recipe} on {data}.",
            params={**what, "recipe": str(named), "data": shown},
        )
    if folder.shipped:
        return Note(template="{parameters} parameters ({architecture}); comes with Dizuo.", params=what)
    return Note(template="{parameters} parameters ({architecture}), from the folder of models.", params=what)
