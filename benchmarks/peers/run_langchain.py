# pyright: reportMissingImports=false
"""LangChain with Chroma on disk, put together as its "Build a RAG agent" tutorial does."""

from pathlib import Path

from harness import compete, model_folder
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter


class LangChainChroma:
    def __init__(self, store: Path) -> None:
        embeddings = HuggingFaceEmbeddings(model_name=model_folder())
        embeddings.embed_query("warm")
        self.vectors = Chroma(
            collection_name="passages", embedding_function=embeddings, persist_directory=str(store / "chroma")
        )
        self.splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200, add_start_index=True)

    def index(self, folder: Path) -> None:
        documents = [
            Document(page_content=file.read_text("utf-8"), metadata={"source": file.name})
            for file in sorted(folder.iterdir())
        ]
        self.vectors.add_documents(documents=self.splitter.split_documents(documents))

    def search(self, question: str, limit: int) -> list[str]:
        return [document.metadata["source"] for document in self.vectors.similarity_search(question, k=limit)]


compete(LangChainChroma)
