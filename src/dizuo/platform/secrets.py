"""Keys of providers at rest: encrypted with one key of this instance, which lies beside the database and not in it.

AES in CBC mode with a HMAC (Fernet): https://github.com/fernet/spec/blob/master/Spec.md
"""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from dizuo.core.errors import UserError
from dizuo.core.once import once

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

FILE = "secret.key"


class Secrets:
    """Encrypts what nobody but this instance may read. Thread-safe; of many processes that begin at once, one makes
    the key.
    """

    def __init__(self, home: Path, key: str = "") -> None:
        """`key` stands in for the file `secret.key` in `home` (setting `secret_key`)."""
        self._file = home / FILE
        self._key = key.strip()

    def encrypt(self, secret: bytes) -> bytes:
        """What may be kept anywhere. Raises UserError for a key of this instance that is none."""
        return self._fernet.encrypt(secret)

    def decrypt(self, cipher: bytes) -> bytes:
        """What was encrypted. Raises UserError when another key did it: in another home, or before a new secret.key."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(bytes(cipher))
        except InvalidToken:
            raise UserError(
                "It was encrypted with another key than {file} of this instance, as in a backup of another machine. "
                "Give it again, or copy that file from there.",
                file=FILE,
            ) from None

    @once
    def _fernet(self) -> "Fernet":
        from cryptography.fernet import Fernet

        key = self._key or self._kept()
        try:
            return Fernet(key)
        except ValueError:
            raise UserError(
                "{where} holds no key: it must be 32 random bytes in URL-safe base64, 44 characters.",
                where="DIZUO_SECRET_KEY" if self._key else str(self._file),
            ) from None

    def _kept(self) -> str:
        try:
            return self._file.read_text("ascii").strip()
        except FileNotFoundError:
            self._make()
        except UnicodeDecodeError:
            return ""
        return self._file.read_text("ascii").strip()

    def _make(self) -> None:
        """Makes the file whole or not at all, and never in place of another process'."""
        from cryptography.fernet import Fernet

        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._file.with_name(f".{FILE}-{secrets.token_hex(8)}")
        with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, self._file)
        except FileExistsError:
            pass  # another process was first
        except OSError:  # a file system without links
            new.rename(self._file)
        finally:
            new.unlink(missing_ok=True)
