"""Data sets by documented source, tokenizers, and batches that stop and resume."""
