"""Architectures as plain PyTorch modules; weights to and from the Hugging Face layout."""
