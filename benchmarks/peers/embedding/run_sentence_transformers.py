"""sentence-transformers as its documentation shows it (batches of 32, sorted by length)."""

from sentence_transformers import SentenceTransformer
from worker import MAX_TOKENS, model_folder, serve

if __name__ == "__main__":
    model = SentenceTransformer(str(model_folder()), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_TOKENS
    serve(lambda texts: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False))
