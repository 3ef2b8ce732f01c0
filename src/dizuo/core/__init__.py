"""The shared nouns, the errors and the protocols. Standard library and pydantic only."""
