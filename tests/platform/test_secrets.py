"""What is encrypted at rest, and the key that does it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dizuo.core.errors import UserError
from dizuo.platform.secrets import FILE, Secrets


def test_a_secret_comes_back_and_its_cipher_does_not_hold_it(tmp_path: Path) -> None:
    cipher = Secrets(tmp_path).encrypt(b"sk-very-secret")
    assert b"secret" not in cipher
    assert Secrets(tmp_path).decrypt(cipher) == b"sk-very-secret"


def test_the_key_is_for_its_owner_alone_and_made_once(tmp_path: Path) -> None:
    Secrets(tmp_path / "home").encrypt(b"a")
    key = (tmp_path / "home" / FILE).read_bytes()
    assert stat.S_IMODE(os.stat(tmp_path / "home" / FILE).st_mode) == 0o600
    Secrets(tmp_path / "home").encrypt(b"b")
    assert (tmp_path / "home" / FILE).read_bytes() == key
    assert [file.name for file in (tmp_path / "home").iterdir()] == [FILE]


def test_processes_that_begin_at_once_make_one_key(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from dizuo.platform.secrets import Secrets; sys.stdin.read(1);"
        "sys.stdout.buffer.write(Secrets(pathlib.Path(sys.argv[1])).encrypt(b'x'))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _n in range(3)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"!")
        process.stdin.flush()
    ciphers = [process.communicate()[0] for process in started]
    assert [Secrets(tmp_path).decrypt(cipher) for cipher in ciphers] == [b"x"] * 3


def test_a_cipher_of_another_machine_says_what_to_do(tmp_path: Path) -> None:
    cipher = Secrets(tmp_path / "there").encrypt(b"x")
    with pytest.raises(UserError, match=r"another key than secret\.key.*Give it again"):
        Secrets(tmp_path / "here").decrypt(cipher)


def test_the_key_may_come_from_outside_and_then_no_file_is_made(tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    key = Fernet.generate_key().decode()
    cipher = Secrets(tmp_path, key).encrypt(b"x")
    assert Secrets(tmp_path / "elsewhere", key).decrypt(cipher) == b"x"
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_none_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="DIZUO_SECRET_KEY holds no key") as refused:
        Secrets(tmp_path, "hunter2").encrypt(b"x")
    assert "hunter2" not in str(refused.value)
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"secret\.key holds no key"):
        Secrets(tmp_path).encrypt(b"x")
