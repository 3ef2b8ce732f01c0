"""Passwords as Argon2id hashes."""

import secrets
import threading
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

# A hash takes 64 MiB: a crowd of sign-ins waits in line instead of filling the memory.
_HASHING = threading.BoundedSemaphore(2)


class Passwords:
    """Argon2id with the parameters of RFC 9106's second recommendation, which are argon2-cffi's defaults."""

    @cached_property
    def _hasher(self) -> "PasswordHasher":
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        """Checked against where there is no password, so that the time taken says nothing."""
        return self.hash(secrets.token_urlsafe(32))

    def hash(self, password: str) -> str:
        with _HASHING:
            return self._hasher.hash(_typed(password))

    def fits(self, kept: str | None, password: str) -> bool:
        """Whether that is the password. Takes as long when none is kept."""
        from argon2.exceptions import VerifyMismatchError

        nobody = self._nobody
        with _HASHING:
            try:
                return self._hasher.verify(kept or nobody, _typed(password)) and kept is not None
            except VerifyMismatchError:
                return False


def _typed(password: str) -> bytes:
    """The same password, whichever way a keyboard or an input method composed its characters."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
