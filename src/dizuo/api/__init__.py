"""FastAPI routes: OpenAI-compatible, platform, health."""
