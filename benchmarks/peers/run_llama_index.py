# pyright: reportMissingImports=false
"""LlamaIndex with its default vector store, persisted, put together as its starter tutorial does."""

from pathlib import Path

from harness import compete, model_folder
from llama_index.core import Settings, SimpleDirectoryReader, VectorStoreIndex
from llama_index.embeddings.huggingface import HuggingFaceEmbedding


class LlamaIndex:
    def __init__(self, store: Path) -> None:
        Settings.embed_model = HuggingFaceEmbedding(model_name=model_folder())
        Settings.embed_model.get_query_embedding("warm")
        self.store = store

    def index(self, folder: Path) -> None:
        documents = SimpleDirectoryReader(str(folder)).load_data()
        built = VectorStoreIndex.from_documents(documents)
        built.storage_context.persist(persist_dir=str(self.store / "index"))
        self.built = built
        self.retrievers = {}

    def search(self, question: str, limit: int) -> list[str]:
        if limit not in self.retrievers:
            self.retrievers[limit] = self.built.as_retriever(similarity_top_k=limit)
        return [node.metadata["file_name"] for node in self.retrievers[limit].retrieve(question)]


compete(LlamaIndex)
