"""Names of requests, traces and answers. None of them opens anything: for what does there is `secrets`."""

from random import Random

_random = Random()  # noqa: S311  # seeded by the system once: to ask it for each name took a twentieth of a request


def random_hex(n_bytes: int) -> str:
    """A name that nothing else has, of two characters a byte. Thread-safe."""
    return f"{_random.getrandbits(8 * n_bytes):0{2 * n_bytes}x}"
