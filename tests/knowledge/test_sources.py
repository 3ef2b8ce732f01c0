"""Files, folders and archives are walked so that nothing hostile or useless comes along, and what is left is said."""

import io
import os
import socket
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dizuo.core.errors import NotFound, TooLarge, UserError
from dizuo.knowledge.archives import Member, Refused, unpack
from dizuo.knowledge.sources import discover, is_archive_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def names(*paths: Path) -> list[str]:
    return [source.name for source in discover(paths).sources]


def test_a_folder_gives_its_files_in_the_order_of_their_names(folder: Path) -> None:
    for name in ("b.md", "a.txt", "sub/c.md", "Z.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert names(folder) == ["Z.md", "a.txt", "b.md", "sub/c.md"]
    assert names(folder) == names(folder / "sub" / "..")  # the same file has one spelling


def test_the_same_file_twice_is_one_source(folder: Path) -> None:
    (folder / "a.md").write_text("x")
    assert names(folder, folder / "a.md") == ["a.md"]


def test_clutter_and_pictures_are_passed_over_and_the_report_says_so(folder: Path) -> None:
    clutter = (".git/config", "node_modules/x/readme.md", "__pycache__/a.py", "~$draft.docx", "env/x.py")
    for name in (*clutter, "env/pyvenv.cfg", "photo.jpg", "film.mp4", "kept.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    found = discover([folder])
    assert [source.name for source in found.sources] == ["kept.md"]
    [(where, notes)] = found.passed_over
    said = " ".join(map(str, notes))
    assert where == str(folder)
    assert all(part in said for part in (".git/", "node_modules/", "env/", ".jpg (1)", ".mp4 (1)"))


def test_a_file_that_is_named_outright_is_taken_whatever_its_kind(folder: Path) -> None:
    (folder / ".notes").write_text("x")
    (folder / "photo.jpg").write_text("x")
    assert names(folder / ".notes", folder / "photo.jpg") == [".notes", "photo.jpg"]


def test_a_path_that_is_not_there_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(NotFound, match="missing"):
        discover([folder / "missing.md"])


def test_links_never_make_a_walk_go_in_circles(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.md").write_text("x")
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "loop.md").symlink_to(folder / "loop.md")
    (folder / "dangling.md").symlink_to(folder / "nothing")
    (folder / "link.md").symlink_to(folder / "sub" / "a.md")
    found = discover([folder])
    assert [source.name for source in found.sources] == ["link.md", "sub/a.md"]
    assert {Path(source).name for source, _error in found.refused} == {"loop.md", "dangling.md"}
    assert "sub/up" in str(found.passed_over[0][1][0])


def test_devices_pipes_and_sockets_are_refused_without_being_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.md"))
        found = discover([folder, Path("/dev/null")])
    assert found.sources == []
    assert [Path(source).name for source, _error in found.refused] == ["pipe.md", "s.md", "null"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named_and_the_others_go_on(folder: Path) -> None:
    (folder / "shut").mkdir()
    (folder / "shut").chmod(0)
    (folder / "a.md").write_text("x")
    found = discover([folder])
    assert [source.name for source in found.sources] == ["a.md"]
    assert found.refused[0][0].endswith("shut")


def test_a_name_that_is_not_utf8_is_shown_and_can_be_opened(folder: Path) -> None:
    raw = os.fsencode(folder) + b"/" + "报告.txt".encode("gb18030")
    with open(raw, "w") as file:
        file.write("x")
    [source] = discover([folder]).sources
    assert source.name == "报告.txt"
    assert "\\xb1" in source.source
    source.source.encode("utf-8")  # fits into any database
    assert source.path.read_text() == "x"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.zip", True), ("a.TAR.GZ", True), ("a.tgz", True), ("a.tar", True), ("a.gz", False), ("a.docx", False)],
)
def test_archives_are_known_by_their_name(name: str, is_one: bool) -> None:
    assert is_archive_name(name) is is_one


# --- archives ---------------------------------------------------------------------------------------------------


class Shelf:
    """A store in memory, as `unpack` fills it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, stream: Any, limit: int) -> tuple[str, int]:
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise TooLarge("more than {limit}", limit=limit)
        blob = str(len(self.kept))
        self.kept[blob] = content
        return blob, len(content)


def unpacked(path: Path, total: int = 1 << 20, single: int = 1 << 20) -> tuple[dict[str, bytes], dict[str, str]]:
    """({name: content}, {refused name: reason})."""
    shelf = Shelf()
    members = list(unpack(path, "/a.zip", shelf.put, max_total_bytes=total, max_file_bytes=single))
    taken = {m.name: shelf.kept[m.blob] for m in members if isinstance(m, Member)}
    assert all(m.source == f"/a.zip!/{m.name}" for m in members if isinstance(m, Member))
    return taken, {m.name: str(m.error) for m in members if isinstance(m, Refused)}


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, mode: Any, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_gives_its_files_however_it_is_packed(tmp_path: Path, mode: str) -> None:
    members = [(tarfile.TarInfo("a/one.md"), b"one"), (tarfile.TarInfo("二.txt"), "二".encode())]
    taken, refused = unpacked(tarred(tmp_path / "blob", mode, members))
    assert (taken, refused) == ({"a/one.md": b"one", "二.txt": "二".encode()}, {})


@pytest.mark.parametrize("name", ["../up.txt", "/etc/passwd", "a/../../up.txt", "C:/x.txt", "..\\up.txt"])
def test_a_member_that_points_outside_is_refused_and_the_others_come_in(tmp_path: Path, name: str) -> None:
    taken, refused = unpacked(zipped(tmp_path / "blob", **{name: b"x", "fine.md": b"fine"}))
    assert taken == {"fine.md": b"fine"}
    assert "outside" in next(iter(refused.values()))
    taken, refused = unpacked(tarred(tmp_path / "t", "w", [(tarfile.TarInfo(name), b"x")]))
    assert (taken, len(refused)) == ({}, 1)


def test_links_and_devices_in_archives_are_refused(tmp_path: Path) -> None:
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo(f"{kind!r}.md")
        info.type, info.linkname = kind, "/etc/passwd"
        members.append((info, b""))
    taken, refused = unpacked(tarred(tmp_path / "t", "w", [*members, (tarfile.TarInfo("fine.md"), b"fine")]))
    assert (list(taken), len(refused)) == (["fine.md"], 4)
    link = zipfile.ZipInfo("link.md")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert list(unpacked(tmp_path / "z")[1]) == ["link.md"]


def test_a_bomb_is_recognised_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "blob", **{"zeros.txt": bytes(60 << 20)})
    shelf = Shelf()
    with pytest.raises(UserError, match="made to do harm"):
        list(unpack(bomb, "/a.zip", shelf.put, max_total_bytes=1 << 30, max_file_bytes=1 << 30))
    assert shelf.kept == {}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_cannot_be_unpacked_bit_by_bit_is_refused_whatever_size_it_claims(
    tmp_path: Path, method: int
) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w", method) as archive:
        archive.writestr("zeros.txt", bytes(4 << 20))
        archive.writestr("fine.md", b"fine", zipfile.ZIP_DEFLATED)
    data = (tmp_path / "z").read_bytes().replace((4 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "z").write_bytes(data)
    taken, refused = unpacked(tmp_path / "z")
    assert (list(taken), list(refused)) == (["fine.md"], ["zeros.txt"])
    assert "does not unpack" in refused["zeros.txt"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_that_unpacks_to_more_than_the_setting_is_refused_by_its_name(tmp_path: Path, mode: str) -> None:
    members = [(tarfile.TarInfo(f"{n}.md"), os.urandom(600_000)) for n in range(3)]
    with pytest.raises(TooLarge, match="max_archive_mb"):
        unpacked(tarred(tmp_path / "t", mode, members))
    content = {info.name: data for info, data in members}
    with pytest.raises(TooLarge, match="max_archive_mb"):
        unpacked(zipped(tmp_path / "z", **content))


def test_a_packed_stream_is_cut_off_even_when_its_members_are_skipped(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("huge.bin")  # of a kind that is not read: passing over it unpacks it all the same
    with pytest.raises(TooLarge, match="max_archive_mb"):
        unpacked(tarred(tmp_path / "t", "w:gz", [(huge, bytes(4 << 20))]), single=8 << 20)


def test_a_member_that_is_too_large_is_refused_alone(tmp_path: Path) -> None:
    content = {"big.txt": os.urandom(5000), "small.txt": b"x"}
    taken, refused = unpacked(zipped(tmp_path / "z", **content), single=1000)
    assert (list(taken), list(refused)) == (["small.txt"], ["big.txt"])
    assert "max_file_mb" in refused["big.txt"]


def test_an_absurd_tar_header_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 900 << 20
    (tmp_path / "t").write_bytes(info.tobuf() + bytes(4096))
    with pytest.raises(UserError, match="damaged"):
        unpacked(tmp_path / "t", total=1 << 30)


def test_an_archive_in_an_archive_is_named_and_not_opened(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", **{"a.md": b"x"}).read_bytes()
    taken, refused = unpacked(zipped(tmp_path / "outer", **{"inner.zip": inner, "b.md": b"y", "c.7z": b"7z"}))
    assert taken == {"b.md": b"y"}
    assert "not opened" in refused["inner.zip"]
    assert "not opened" in refused["c.7z"]


def test_clutter_in_an_archive_is_left_out(tmp_path: Path) -> None:
    members = {"__MACOSX/._a.md": b"x", ".git/config": b"x", "a.md": b"y", "empty/": b""}
    assert unpacked(zipped(tmp_path / "z", **members)) == ({"a.md": b"y"}, {})


def test_names_that_chinese_windows_wrote_are_read(tmp_path: Path) -> None:
    # Windows writes GBK bytes and no flag; zipfile can only be brought to do so by way of code page 437.
    class Gbk(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return self.filename.encode("gb18030"), 0

    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr(Gbk("制度/报销.md"), "x")
    assert list(unpacked(tmp_path / "z")[0]) == ["制度/报销.md"]


def test_a_locked_member_is_refused_with_what_to_do(tmp_path: Path) -> None:
    zipped(tmp_path / "z", **{"a.md": b"secret"})
    data = bytearray((tmp_path / "z").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1  # the bit that says "encrypted"
    (tmp_path / "z").write_bytes(data)
    assert "password" in unpacked(tmp_path / "z")[1]["a.md"]


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\x03\x04 cut off", b"\x1f\x8b\x08 cut off"])
def test_what_is_no_archive_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "z").write_bytes(content)
    with pytest.raises(UserError, match="damaged or cut off"):
        unpacked(tmp_path / "z")


def test_a_member_with_a_wrong_checksum_is_refused_alone(tmp_path: Path) -> None:
    zipped(tmp_path / "z", **{"a.md": b"content of a" * 50, "b.md": b"b"})
    data = bytearray((tmp_path / "z").read_bytes())
    data[data.index(b"PK\x01\x02") + 16] ^= 0xFF
    (tmp_path / "z").write_bytes(data)
    taken, refused = unpacked(tmp_path / "z")
    assert (list(taken), list(refused)) == (["b.md"], ["a.md"])
