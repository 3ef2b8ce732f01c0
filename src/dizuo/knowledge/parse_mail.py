"""Readers of e-mail: .eml by the standard library, .msg of Outlook by markitdown. They run in the parser's child."""

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.knowledge.encoding import decode
from dizuo.knowledge.formats import Format
from dizuo.knowledge.parse import Parsed, clean, pictures_lost, require_text
from dizuo.knowledge.parse_html import html_to_markdown
from dizuo.platform.catalogue import _

_DEEPEST = 5  # messages forwarded in messages
_HEADERS = ("From", "To", "Cc", "Date", "Subject")


def parse_mail(path: Path, name: str, format: Format) -> Parsed:
    """Headers, body, and what is attached: its text where it is text, else its name. Raises UserError."""
    return _outlook(path, format) if format.name == "outlook" else _eml(path, format)


def _eml(path: Path, format: Format) -> Parsed:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    if not any(message.get(header) for header in _HEADERS):
        raise UserError("There is no e-mail in the file: it has neither a sender nor a date nor a subject.")
    unread: list[str] = []
    pictures: list[int] = []
    text = _message(message, unread, pictures, 1)
    meta = _meta(message)
    lost: list[Note] = []
    if unread:
        template = _("Attachments were not read: {names}. Save them and add them too.")
        lost.append(Note(template=template, params={"count": len(unread), "names": ", ".join(unread[:20])}))
    lost += pictures_lost(sum(pictures))
    return require_text(Parsed(clean(text), format.name, format.media_type, None, (), tuple(lost), meta))


def _meta(message: EmailMessage) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    for header, key in (("Subject", "title"), ("From", "author")):
        if value := message.get(header):
            meta[key] = clean(str(value)).strip()
    date = message.get("Date")
    if date is not None and getattr(date, "datetime", None) is not None:
        meta["date"] = date.datetime.date().isoformat()
    return meta


def _message(message: EmailMessage, unread: list[str], pictures: list[int], level: int) -> str:
    parts = ["#" * min(level, 6) + " " + " ".join(str(message.get("Subject") or "E-mail").split())]
    lines = [f"**{header}:** {value}" for header in _HEADERS[:4] if (value := message.get(header))]
    parts.append("  \n".join(lines))
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None:
        parts.append(_body(body, pictures))
    for attachment in message.iter_attachments():
        name = " ".join(str(attachment.get_filename() or attachment.get_content_type()).split())
        kind = attachment.get_content_maintype()
        if attachment.get_content_type() == "message/rfc822" and level < _DEEPEST:
            inner = attachment.get_content()
            parts.append(_message(inner, unread, pictures, level + 1))
        elif kind == "text":
            parts.append("#" * min(level + 1, 6) + f" {name}")
            parts.append(_body(attachment, pictures))
        else:
            unread.append(name)
            parts.append(f"[{name}]")
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def _body(part: Any, pictures: list[int]) -> str:
    data = part.get_payload(decode=True) or b""
    charset = part.get_content_charset()
    try:
        text = data.decode("gb18030" if charset in ("gb2312", "gbk") else charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        text = decode(data).text
    if part.get_content_subtype() == "html":
        markdown, _meta, _lost = html_to_markdown(text)
        pictures.append(text.lower().count("<img"))
        return markdown.strip()
    return text.strip()


def _outlook(path: Path, format: Format) -> Parsed:
    import olefile
    from markitdown import StreamInfo
    from markitdown.converters import OutlookMsgConverter

    with path.open("rb") as file:
        result = OutlookMsgConverter().convert(file, StreamInfo(extension=".msg"))
    with olefile.OleFileIO(str(path)) as container:
        names = [
            container.openstream(entry).read().decode("utf-16-le", "replace").rstrip("\x00")
            for entry in container.listdir()
            if entry[0].startswith("__attach") and entry[-1] == "__substg1.0_3707001F"
        ]
    text = result.markdown
    lost: tuple[Note, ...] = ()
    if names:
        template = _("Attachments were not read: {names}. Save them and add them too.")
        lost = (Note(template=template, params={"count": len(names), "names": ", ".join(names[:20])}),)
        text += "\n\n" + "\n".join(f"[{name}]" for name in names)
    meta = {"title": clean(result.title)} if result.title else {}
    return require_text(Parsed(clean(text), format.name, format.media_type, None, (), lost, meta))
