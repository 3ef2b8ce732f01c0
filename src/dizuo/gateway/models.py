"""The models an instance knows: what is listed, and a name turned into the model behind the protocols."""

from typing import TYPE_CHECKING, Literal

from dizuo.core.documents import Note
from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.core.once import once

if TYPE_CHECKING:
    from dizuo.core.protocols import ChatModel, Embedder
    from dizuo.gateway.local import LocalEmbedder

LOCAL_EMBEDDER = "local/minilm"

# Where a provider's OpenAI-compatible endpoint is when the person gave no other.
BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "ollama": "http://127.0.0.1:11434/v1",
}


class ModelInfo(Noun):
    """One line of the catalogue. `note` says in a sentence what the model is for and where it runs."""

    name: str  # provider/name
    kind: Literal["chat", "embedding"]
    provider: str
    note: Note


class Models:
    """Every model of the instance: the embedder that ships, and the chat model that the settings name."""

    def __init__(self, model: str = "", base_url: str = "", api_key: str = "") -> None:
        self._model = model
        self._base_url = base_url
        self._api_key = api_key

    def list(self) -> "list[ModelInfo]":
        """The models that can be asked for by name. Loads none of them."""
        known = [
            ModelInfo(
                name=LOCAL_EMBEDDER,
                kind="embedding",
                provider="local",
                note=Note(template="English sentence embeddings (all-MiniLM-L6-v2), computed on this machine."),
            )
        ]
        if self._model:
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

    def chat(self, name: str) -> "ChatModel":
        """The chat model of that name.

        Raises NotFound with the known names, and UserError for settings that cannot work.
        """
        if not self._model or name != self._model:
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

    def embedder(self, name: str) -> "Embedder":
        """The embedder of that name; the same object each time. Loads its weights when it first embeds.

        Raises NotFound with the known names.
        """
        if name != LOCAL_EMBEDDER:
            raise NotFound(
                "No embedding model is named {name!r}. There are: {names}. Name one with the setting {setting}.",
                name=name,
                names=self._names("embedding"),
                setting="embedder (DIZUO_EMBEDDER)",
            )
        return self._minilm

    @once
    def _minilm(self) -> "LocalEmbedder":
        from dizuo.gateway.local import LocalEmbedder

        return LocalEmbedder()

    def _names(self, kind: str) -> str:
        return ", ".join(info.name for info in self.list() if info.kind == kind) or "-"
