"""Named collections of documents: parse, chunk, index, find, answer."""
