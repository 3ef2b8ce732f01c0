"""Which kinds of file there are, and of which kind one is: by its name, corrected by its first bytes."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from dizuo.core.errors import UserError
from dizuo.knowledge.parse import damaged, locked

Family = Literal["markdown", "text", "code", "csv", "json", "html", "pdf", "office", "mail"]


@dataclass(frozen=True)
class Format:
    """A kind of file. `in_process`: plain text, with nothing in it to exploit."""

    name: str
    family: Family
    media_type: str
    extensions: tuple[str, ...]

    @property
    def in_process(self) -> bool:
        return self.family in ("markdown", "text", "code", "csv")

    @property
    def is_container(self) -> bool:
        """Whether its first bytes always say what it is."""
        return self.name == "outlook" or (self.family == "office" and self.name != "notebook")


_OPEN_XML = "application/vnd.openxmlformats-officedocument."
_FORMATS = [
    Format("markdown", "markdown", "text/markdown", ("md", "markdown", "mdown", "mdx", "qmd", "rmd")),
    Format(
        "text", "text", "text/plain",
        ("txt", "text", "log", "rst", "adoc", "asciidoc", "org", "tex", "srt", "vtt", "po", "diff", "patch"),
    ),
    Format("csv", "csv", "text/csv", ("csv", "tsv")),
    Format("json", "json", "application/json", ("json", "geojson", "webmanifest")),
    Format("jsonl", "json", "application/jsonl", ("jsonl", "ndjson")),
    Format("html", "html", "text/html", ("html", "htm", "xhtml")),
    Format("pdf", "pdf", "application/pdf", ("pdf",)),
    Format("docx", "office", _OPEN_XML + "wordprocessingml.document", ("docx", "docm", "dotx")),
    Format("pptx", "office", _OPEN_XML + "presentationml.presentation", ("pptx", "pptm", "ppsx")),
    Format("xlsx", "office", _OPEN_XML + "spreadsheetml.sheet", ("xlsx", "xlsm", "xltx")),
    Format("xls", "office", "application/vnd.ms-excel", ("xls",)),
    Format("epub", "office", "application/epub+zip", ("epub",)),
    Format("notebook", "office", "application/x-ipynb+json", ("ipynb",)),
    Format("email", "mail", "message/rfc822", ("eml",)),
    Format("outlook", "mail", "application/vnd.ms-outlook", ("msg",)),
    *(
        Format(language, "code", "text/x-" + language, tuple(extensions.split()))
        for language, extensions in {
            "python": "py pyi pyw", "javascript": "js mjs cjs jsx", "typescript": "ts tsx mts", "java": "java",
            "kotlin": "kt kts", "scala": "scala", "groovy": "groovy gradle", "c": "c h", "cpp": "cc cpp cxx hpp hh hxx",
            "csharp": "cs", "go": "go", "rust": "rs", "swift": "swift", "objectivec": "mm", "ruby": "rb", "php": "php",
            "perl": "pl pm", "lua": "lua", "r": "r", "julia": "jl", "dart": "dart", "haskell": "hs", "elixir": "ex exs",
            "erlang": "erl", "clojure": "clj cljs", "fsharp": "fs fsx", "ocaml": "ml mli", "lisp": "lisp el scm",
            "matlab": "m", "fortran": "f90 f95", "pascal": "pas", "zig": "zig", "nim": "nim", "solidity": "sol",
            "verilog": "v sv", "vhdl": "vhd", "assembly": "asm s", "cuda": "cu cuh", "shell": "sh bash zsh fish",
            "powershell": "ps1 psm1", "batch": "bat cmd", "sql": "sql", "graphql": "graphql", "protobuf": "proto",
            "css": "css scss less", "vue": "vue svelte", "xml": "xml xsd xsl svg", "yaml": "yaml yml", "toml": "toml",
            "ini": "ini cfg conf properties env", "make": "mk cmake", "terraform": "tf", "dockerfile": "dockerfile",
        }.items()
    ),
]  # fmt: skip
_BY_NAME = {f.name: f for f in _FORMATS}
_BY_EXTENSION = {extension: f for f in _FORMATS for extension in f.extensions}
_BY_FILE_NAME = {
    "makefile": "make", "dockerfile": "dockerfile", "gemfile": "ruby", "rakefile": "ruby", "jenkinsfile": "groovy",
    "readme": "text", "license": "text", "changelog": "text", "authors": "text", "copying": "text", "notice": "text",
}  # fmt: skip

# Kinds that hold no text Dizuo can reach. In a folder they are passed over; named one by one, each is refused.
_UNREADABLE = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "bmp",
        "tif",
        "tiff",
        "webp",
        "heic",
        "ico",
        "psd",
        "ai",
        "eps",
        "raw",
        "mp3",
        "wav",
        "flac",
        "ogg",
        "m4a",
        "aac",
        "wma",
        "mp4",
        "mkv",
        "avi",
        "mov",
        "wmv",
        "webm",
        "flv",
        "exe",
        "dll",
        "so",
        "dylib",
        "a",
        "o",
        "obj",
        "lib",
        "bin",
        "dat",
        "iso",
        "img",
        "dmg",
        "msi",
        "deb",
        "rpm",
        "apk",
        "jar",
        "war",
        "class",
        "pyc",
        "pyo",
        "whl",
        "wasm",
        "db",
        "sqlite",
        "sqlite3",
        "mdb",
        "parquet",
        "feather",
        "arrow",
        "npy",
        "npz",
        "pt",
        "pth",
        "onnx",
        "safetensors",
        "gguf",
        "pkl",
        "pickle",
        "joblib",
        "h5",
        "hdf5",
        "tfrecord",
        "ttf",
        "otf",
        "woff",
        "woff2",
        "eot",
        "map",
        "lock",
        "key",
        "pem",
        "crt",
        "p12",
        "pfx",
        "keystore",
        "swp",
        "bak",
        "tmp",
        "part",
        "crdownload",
    ]
)
_CLUTTER = frozenset(
    ("__pycache__", "node_modules", "__MACOSX", "CVS", "_darcs", "Thumbs.db", "desktop.ini", "lost+found")
)
_CONVERT = {
    "doc": "docx", "dot": "docx", "rtf": "docx", "wps": "docx", "pages": "docx", "odt": "docx",
    "ppt": "pptx", "pps": "pptx", "dps": "pptx", "key": "pptx", "odp": "pptx",
    "xlsb": "xlsx", "ods": "xlsx", "et": "xlsx", "numbers": "xlsx", "mobi": "epub", "azw3": "epub",
}  # fmt: skip

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAGIC = (
    (b"\x89PNG\r\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"\x7fELF", "ELF"), (b"MZ\x90\x00", "EXE"),
    (b"\x1f\x8b", "gzip"), (b"BZh9", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"), (b"SQLite format 3\x00", "SQLite"), (b"OggS", "Ogg"), (b"ID3\x03", "MP3"),
    (b"\x00\x00\x01\x00", "ICO"), (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"RIFF", "RIFF"), (b"wOFF", "WOFF"),
)  # fmt: skip


def family_of(format: str) -> Family:
    """The family of a `Parsed.format`; "text" for one that is not known."""
    known = _BY_NAME.get(format)
    return known.family if known else "text"


def extension_of(name: str) -> str:
    """The last extension of a file name, in lower case, without its dot."""
    return PurePath(name).suffix.lower().lstrip(".")


def is_worth_reading(name: str) -> bool:
    """Whether a file found in a folder is of a kind that may hold text."""
    return extension_of(name) not in _UNREADABLE


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is a machine's own: hidden, version control, caches, lock files."""
    return name.startswith((".", "~$")) or name in _CLUTTER


def plain_format_of(path: Path, name: str) -> Format | None:
    """The format of a file that is plain text by its name and its first bytes; None when it takes a closer look.

    Raises UserError for an empty file. Nothing is parsed here: this runs in the server.
    """
    head = _head(path)
    extension = extension_of(name)
    by_name = _format_of_name(name)
    if by_name is None and extension not in _UNREADABLE and extension not in _CONVERT:
        by_name = _BY_NAME["text"]
    is_marked = b"%PDF-" in head[:1024] or head.startswith((b"PK\x03\x04", _OLE, b"{\\rtf", *(m for m, _k in _MAGIC)))
    return by_name if by_name is not None and by_name.in_process and not is_marked else None


def format_of(path: Path, name: str) -> Format:
    """What kind of file it is. The name says it, unless the first bytes say otherwise.

    Raises UserError for a kind that Dizuo does not read and for an empty file.
    """
    head = _head(path)
    extension = extension_of(name)
    if (by_content := _format_of_content(path, head, extension)) is not None:
        return by_content
    by_name = _format_of_name(name)
    if by_name is not None and by_name.name == "xls":  # old programs write HTML or CSV under this name
        return _BY_NAME["html" if re.search(rb"<(html|table|\?xml|meta)\b", head, re.I) else "csv"]
    if by_name is not None and by_name.is_container:
        raise damaged(extension)  # its bytes would have said so
    if by_name is not None:
        return by_name
    if extension in _CONVERT:
        raise _must_be_converted(extension)
    if extension in _UNREADABLE:
        raise UserError("Dizuo does not read {extension} files.", extension="." + extension)
    return _BY_NAME["text"]


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise UserError("The file is empty.")
    return head


def _format_of_name(name: str) -> Format | None:
    return _BY_EXTENSION.get(extension_of(name)) or _BY_NAME.get(_BY_FILE_NAME.get(PurePath(name).name.lower(), ""))


def _format_of_content(path: Path, head: bytes, extension: str) -> Format | None:
    """The format that the first bytes prove. None where they prove none (text has no mark)."""
    if b"%PDF-" in head[:1024]:
        return _BY_NAME["pdf"]
    if head.startswith(b"PK\x03\x04"):
        return _format_of_zip(path, extension)
    if head.startswith(_OLE):
        return _format_of_ole(path, extension)
    if head.startswith(b"{\\rtf"):
        raise _must_be_converted("rtf")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            raise UserError("The content is {kind} data, which Dizuo does not read, whatever the name says.", kind=kind)
    return None


def _format_of_zip(path: Path, extension: str) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise damaged(extension) from None
    for folder, name in (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"), ("META-INF/container.xml", "epub")):
        if any(member.startswith(folder) for member in names):
            if name == "xlsx" and any(member == "xl/workbook.bin" for member in names):
                raise _must_be_converted("xlsb")
            return _BY_NAME[name]
    if "content.xml" in names and "mimetype" in names:
        extension = extension if extension in _CONVERT else "odt"
    if extension in _CONVERT:
        raise _must_be_converted(extension)
    raise UserError(
        "The content is a ZIP archive without a document that Dizuo knows. If it is an archive, name it .zip."
    )


def _format_of_ole(path: Path, extension: str) -> Format:
    """OLE holds old Office formats, Outlook mail, and new Office formats when they have a password."""
    import olefile

    try:
        with olefile.OleFileIO(str(path)) as container:
            if container.exists("EncryptedPackage"):
                raise locked()
            for stream, name in (("__properties_version1.0", "outlook"), ("Workbook", "xls"), ("Book", "xls")):
                if container.exists(stream):
                    return _BY_NAME[name]
    except (OSError, ValueError, IndexError, TypeError, AttributeError):
        raise damaged(extension) from None
    raise _must_be_converted(extension if extension in _CONVERT else "doc")


def _must_be_converted(extension: str) -> UserError:
    target = _CONVERT[extension]
    return UserError(
        "Dizuo does not read {extension} files. Save it as .{target}, for example with LibreOffice: "
        "soffice --headless --convert-to {target} FILE",
        extension="." + extension,
        target=target,
    )
