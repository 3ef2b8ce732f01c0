"""Dizuo: one self-hosted system for the whole life of an AI app.

The Python face, loaded when first used:

    import dizuo
    dizuo.Knowledge("handbook").add("docs/")
    print(dizuo.ask("How do I install it?", knowledge="handbook").answer)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Knowledge", "__version__", "ask"]

if TYPE_CHECKING:
    from dizuo.python_face import Knowledge, ask


def __getattr__(name: str) -> Any:
    if name in ("ask", "Knowledge"):
        from dizuo import python_face

        return getattr(python_face, name)
    raise AttributeError(f"module 'dizuo' has no attribute {name!r}; it has {', '.join(__all__)}")
