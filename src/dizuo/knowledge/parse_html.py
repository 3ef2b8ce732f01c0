"""Reader of HTML: its text as Markdown. Nothing in it runs and nothing is fetched. Runs in the parser's child."""

import re
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.knowledge.encoding import decode
from dizuo.knowledge.formats import Format
from dizuo.knowledge.parse import Parsed, clean, pictures_lost, require_text, structure_lost

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]+)", re.I)
_NOT_TEXT = ("script", "style", "template", "noscript", "svg", "iframe", "object", "canvas", "head", "select", "button")
# Markdownify walks by recursion, a few frames for each level.
_DEEPEST = 200
_DATA_PICTURE = re.compile(r"!\[([^\]]*)\]\((?:data:[^)]*|[^)\s]*)(?:\s+\"[^\"]*\")?\)")


def parse_html(path: Path, name: str, format: Format) -> Parsed:
    """A page as Markdown. Raises UserError when it holds no text."""
    data = path.read_bytes()
    text, encoding, lost = _decoded(data)
    markdown, meta, notes = html_to_markdown(text)
    return require_text(Parsed(markdown, format.name, format.media_type, encoding, (), (*lost, *notes), meta))


def _decoded(data: bytes) -> tuple[str, str, tuple[Note, ...]]:
    """What the bytes prove wins over what the page says of itself, which is often a copied line."""
    decoded = decode(data)
    declared = _CHARSET.search(data[:4096])
    if declared and not decoded.encoding.startswith("utf-"):
        try:
            encoding = declared[1].decode("ascii").lower()
            encoding = "gb18030" if encoding in ("gb2312", "gbk") else encoding
            return data.decode(encoding), encoding, ()
        except (LookupError, UnicodeDecodeError):
            pass
    return decoded.text, decoded.encoding, decoded.lost


def html_to_markdown(html: str) -> tuple[str, dict[str, Any], tuple[Note, ...]]:
    """(Markdown, meta, what was lost) of a page or a piece of one."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "lxml")
    meta = _meta(soup)
    pictures = len(soup.find_all("img"))
    for tag in soup.find_all(_NOT_TEXT):
        tag.decompose()
    for tag in soup.find_all(hidden=True):
        tag.decompose()
    lost: list[Note] = []
    if _depth(soup) > _DEEPEST:
        text = soup.get_text("\n", strip=True)
        lost.append(structure_lost())
    else:
        text = markdown_of(soup)
    return clean(text).strip() + "\n", meta, (*lost, *pictures_lost(pictures))


def markdown_of(soup: Any) -> str:
    """Markdown of a parsed page: pictures as their description alone, addresses only where they lead somewhere."""
    from markdownify import ATX, MarkdownConverter

    class Converter(MarkdownConverter):
        def convert_a(self, el: Any, text: str, parent_tags: Any) -> str:
            address = str(el.get("href") or "")
            if not text.strip() or not address.startswith(("http://", "https://", "mailto:")):
                return text
            return text if address in text else f"[{text.strip()}]({address})"

        def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
            return " ".join(str(el.get("alt") or "").split())

    # Escaping would put backslashes into names and numbers that people search for.
    plain: dict[str, Any] = {"escape_asterisks": False, "escape_underscores": False, "escape_misc": False}
    converter = Converter(heading_style=ATX, table_infer_header=True, **plain)
    return tidy(converter.convert_soup(soup.find("body") or soup))


def tidy(markdown: str) -> str:
    """Without embedded pictures and without more than one blank line in a row."""
    markdown = _DATA_PICTURE.sub(r"\1", markdown)
    markdown = re.sub(r"[ \t]+$", "", markdown, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", markdown)


def _depth(soup: Any) -> int:
    """How deeply elements are nested, counted without recursion."""
    deepest = 0
    level = 0
    node = soup
    while node is not None:
        child = next((c for c in getattr(node, "contents", ()) if getattr(c, "contents", None) is not None), None)
        if child is not None:
            node, level = child, level + 1
            deepest = max(deepest, level)
            continue
        while node is not None:
            following = node.next_sibling
            while following is not None and getattr(following, "contents", None) is None:
                following = following.next_sibling
            if following is not None:
                node = following
                break
            node, level = node.parent, level - 1
            if node is soup:
                node = None
    return deepest


def _meta(soup: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if soup.title and soup.title.get_text(strip=True):
        meta["title"] = clean(soup.title.get_text(" ", strip=True))
    root = soup.find("html")
    if root is not None and root.get("lang"):
        meta["language"] = str(root["lang"])
    for name, key in (("author", "author"), ("date", "date"), ("article:published_time", "date")):
        tag = soup.find("meta", attrs={"name": name}) or soup.find("meta", attrs={"property": name})
        if tag is not None and tag.get("content"):
            meta.setdefault(key, clean(str(tag["content"])))
    return meta
