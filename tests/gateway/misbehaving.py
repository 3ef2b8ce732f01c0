"""Every way in which a provider misbehaves before it has said a word, and what must come of it."""

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dizuo.core.errors import ModelBusy, ModelDown, ModelError, ModelRefused
from dizuo.gateway.remote_http import Timeouts
from tests.gateway.provider import PATIENT, RESET, SILENT, WAIT, Step, answer, chunked, head

ENOUGH = 200_000  # bytes beyond the limits that the tests set


@dataclass(frozen=True)
class Fault:
    """A script, and the error that it causes: its class, its HTTP status for our client, what it says."""

    script: Sequence[Step]
    error: type[ModelError]
    says: str
    status: int = 502
    timeouts: Timeouts = PATIENT
    params: dict[str, object] = field(default_factory=dict)


_BUSY = {"error": {"message": "slow down"}}
_WRONG = {"error": {"message": "max_tokens is too large: 9999", "type": "invalid_request_error"}}
_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

FAULTS = {
    "busy": Fault(answer(_BUSY, 429, Retry_After="7"), ModelBusy, "slow down", 429, params={"retry_after_s": 7.0}),
    "busy, for a time it does not say": Fault(answer(_BUSY, 429), ModelBusy, "slow down", 429),
    "bad request": Fault(answer(_WRONG, 400), ModelRefused, "max_tokens is too large: 9999", 400),
    "unprocessable": Fault(answer({"detail": "no such field"}, 422), ModelRefused, "no such field", 400),
    "key refused": Fault(answer({"error": {"message": "who?"}}, 401), ModelRefused, "refused the key.*who"),
    "key forbidden": Fault(answer({"message": "not you"}, 403), ModelRefused, "refused the key.*not you"),
    "no money left": Fault(answer({"error": {"message": "pay"}}, 402), ModelRefused, "HTTP 402.*pay"),
    "model unknown": Fault(answer({"error": "no model"}, 404), ModelRefused, "does not know the model 'm'", 404),
    "failed": Fault(answer(b"<h1>Internal Server Error</h1>", 500), ModelDown, "HTTP 500.*: Internal Server Error$"),
    "overloaded": Fault(answer({}, 503, Retry_After="2"), ModelDown, "HTTP 503", params={"retry_after_s": 2.0}),
    "slow first byte": Fault([WAIT], ModelDown, "sent nothing of test/m for 0.3 s", timeouts=SILENT),
    "stall after the headers": Fault([_CHUNKED, WAIT], ModelDown, "sent nothing.*for 0.3 s", timeouts=SILENT),
    "stall midway": Fault(
        [_CHUNKED + chunked(b'{"choices": ['), WAIT], ModelDown, "sent nothing.*for 0.3 s", timeouts=SILENT
    ),
    "half a chunk": Fault([_CHUNKED + b'40\r\n{"choices": ['], ModelDown, "broke in the middle"),
    "half a body": Fault([answer({"choices": []})[0][:-5]], ModelDown, "broke in the middle"),  # pyright: ignore
    "garbage": Fault(answer(b"{not json"), ModelDown, "not the OpenAI protocol: {not json"),
    "no HTTP": Fault([b"SSH-2.0-OpenSSH_9.6\r\n"], ModelDown, "broke"),
    "wrong content type": Fault([head(200, "text/html"), b"<p>Hi"], ModelDown, "answered with text/html"),
    "an error with success": Fault(answer({"error": {"message": "no memory"}}), ModelDown, "no memory"),
    "busy with success": Fault(answer({"error": {"message": "full", "code": 429}}), ModelBusy, "full", 429),
    "huge body": Fault([head(200, "application/json"), b"[" * ENOUGH], ModelDown, "> 50000 bytes"),
    "endless headers": Fault(
        [b"HTTP/1.1 200 OK\r\n", *[b"X-More: and more\r\n" * 100] * 100, WAIT], ModelDown, "broke", timeouts=PATIENT
    ),
    "one endless header": Fault([b"HTTP/1.1 200 OK\r\nX: ", b"x" * ENOUGH, WAIT], ModelDown, "broke"),
    "reset": Fault([RESET], ModelDown, "broke"),
    "closed": Fault([], ModelDown, "broke"),
    "redirect": Fault([head(302, Location="https://evil.example/v1")], ModelRefused, "redirects to https://evil.exam"),
}


def self_signed(folder: Path) -> ssl.SSLContext:
    """TLS for 127.0.0.1 by a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context
