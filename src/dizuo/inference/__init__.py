"""A checkpoint becomes tokens, vectors, labels or pictures."""
