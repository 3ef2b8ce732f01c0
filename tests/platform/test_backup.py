"""What a backup promises: everything comes back, on either database, or nothing is touched."""

import errno
import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dizuo.core.errors import Conflict, UserError
from dizuo.platform import backup_tables, migrate, revisions, schema
from dizuo.platform.backup import KEPT_SNAPSHOTS, backup, restore, snapshot, snapshots
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database
from dizuo.platform.home_lock import WorkerLock
from dizuo.platform.identity import Identity
from tests.conftest import migrated

FILE = "年假规定 — the leave policy".encode() * 50


class Instance:
    """A database with its blobs and home."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database, self.home, self.blobs = database, home, Blobs(home / "blobs")
        self.identity = Identity(database)

    def backup(self, file: Path):
        return backup(self.database, self.blobs, self.home, file)

    def restore(self, file: Path):
        return restore(self.database, self.blobs, self.home, file)

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(table.select().order_by(*table.primary_key))]

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """Everything that a backup brings back; chunks by their place among chunks, since they get new numbers."""
        kept = {t.name: self.rows(t) for t in schema.metadata.sorted_tables if t.name not in backup_tables.TRANSIENT}
        numbers = {chunk["row"]: n for n, chunk in enumerate(kept["chunks"])}
        for row in [*kept["chunks"], *kept["vectors"]]:
            row["row"] = numbers[row["row"]]
        for row in kept["knowledge"]:
            del row["version"]
        return kept

    def fill(self) -> None:
        """Some of everything, in both languages, with every kind of value."""
        blob, size = self.blobs.put(io.BytesIO(FILE))
        owner, at = self.identity.owner(), schema.now()
        self.identity.redeem(self.identity.login_link("owner"), "correct horse battery")
        self.identity.create_key("scripts")
        document = {
            "id": "doc_1", "knowledge_id": 1, "name": "年假.md", "source": "/a/年假.md", "media_type": "text/markdown",
            "size_bytes": size, "blob": blob, "text": FILE.decode(), "report": {"lost": [{"n": 1}]},
            "meta": {"作者": "林"}, "added_at": at, "changed_at": at,
        }  # fmt: skip
        chunk = {"knowledge_id": 1, "document_id": "doc_1", "kind": "text", "heading": "", "start": 0, "end": 9}
        job = {
            "id": "job_1", "kind": "knowledge.add", "args": {}, "status": "done", "total": 2, "finished": 2,
            "cancel_requested": True, "eta_s": 1.5, "user_id": owner.id, "created_at": at,
        }  # fmt: skip
        item = {"job_id": "job_1", "args": {"path": "/a"}, "source": "/a", "status": "added", "report": {"chunks": 3}}
        thread = {
            "id": "t",
            "user_id": owner.id,
            "knowledge": "kb",
            "title": "对话",
            "created_at": at,
            "updated_at": at,
        }
        message = {"thread_id": "t", "role": "user", "content": "年假几天？\n\t\"'\\", "created_at": at}
        with self.database.write() as connection:
            connection.execute(schema.knowledge.insert().values(id=1, name="kb", version=7, created_at=at))
            connection.execute(schema.documents.insert().values(document))
            for n in (1, 2, 3):
                values = {**chunk, "id": f"chk_{n}", "position": n, "page": n if n > 1 else None, "text": f"段落 {n}"}
                row = connection.execute(schema.chunks.insert().values(values)).inserted_primary_key
                assert row is not None
                vector = {"row": row[0], "knowledge_id": 1, "model": "local/minilm", "vector": bytes(range(n, 256))}
                connection.execute(schema.vectors.insert().values(vector))
            connection.execute(schema.chunks.delete().where(schema.chunks.c.id == "chk_2"))
            connection.execute(schema.jobs.insert().values(job))
            connection.execute(schema.job_items.insert(), [{**item, "position": n} for n in (0, 1)])
            connection.execute(schema.threads.insert().values(thread))
            connection.execute(schema.thread_messages.insert().values(message))


@pytest.fixture
def instance(database: Database, tmp_path: Path) -> Instance:
    return Instance(database, tmp_path / "home")


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Instance]:
    home = tmp_path / "sqlite"
    database = migrated(f"sqlite:///{home / 'dizuo.db'}", home)
    yield Instance(database, home)
    database.close()


@pytest.fixture
def kept(on_sqlite: Instance, tmp_path: Path) -> Path:
    """A good backup of a filled instance."""
    on_sqlite.fill()
    on_sqlite.backup(tmp_path / "kept.dizuo")
    return tmp_path / "kept.dizuo"


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None], name: str = "forged.dizuo") -> Path:
    """The same backup with members changed, its manifest in step with them."""
    with tarfile.open(file, "r:gz") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    change(members)
    manifest = json.loads(members.pop("manifest.json"))
    manifest["head"] = hashlib.sha256(members["head.json"]).hexdigest()
    manifest["parts"] = {n: hashlib.sha256(c).hexdigest() for n, c in members.items() if n.startswith("tables/")}
    rows: dict[str, int] = {}
    for part in manifest["parts"]:
        rows[part.split("/")[1]] = rows.get(part.split("/")[1], 0) + members[part].count(b"\n")
    members["manifest.json"] = json.dumps({**manifest, "rows": rows}).encode()
    target = file.with_name(name)
    with tarfile.open(target, "w:gz") as tar:
        for path, content in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target


def head_of(members: dict[str, bytes], **changes: Any) -> None:
    members["head.json"] = json.dumps({**json.loads(members["head.json"]), **changes}).encode()


def lies(members: dict[str, bytes], path: str) -> None:
    """Says that the stored file is one of a run, too, at that path."""
    files = {name: members.pop(name) for name in list(members) if name.startswith("files/")}
    row = ["runs", path, next(iter(files)).removeprefix("files/")]
    members["tables/_files/000001.jsonl"] = json.dumps(row).encode() + b"\n"
    members.update(files)


def files_of_runs(instance: Instance) -> dict[str, bytes]:
    folder = instance.home / "runs"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- everything comes back ----------------------------------------------------------------------------------------


def test_everything_comes_back_where_it_was_lost(instance: Instance, tmp_path: Path) -> None:
    instance.fill()
    before = instance.state()
    info = instance.backup(tmp_path / "all.dizuo")
    assert (info.files, info.rows["chunks"], info.rows["documents"]) == (1, 2, 1)
    with instance.database.write() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(table.delete())
    for name in list(instance.blobs.names()):
        instance.blobs.delete(name)
    assert instance.restore(tmp_path / "all.dizuo") == info
    assert instance.state() == before
    assert instance.blobs.path(before["documents"][0]["blob"]).read_bytes() == FILE


def test_every_table_comes_back(instance: Instance, tmp_path: Path) -> None:
    instance.fill()
    with instance.database.write() as connection:
        for table in schema.metadata.sorted_tables:
            if not connection.execute(sa.select(sa.func.count()).select_from(table)).scalar():
                connection.execute(table.insert().values({one.name: _some(connection, one) for one in table.columns}))
    before = instance.state()
    assert all(before.values())
    file = tmp_path / "all.backup"
    instance.backup(file)
    instance.restore(file)
    assert instance.state() == before


def _some(connection: sa.Connection, column: sa.Column[Any]) -> Any:
    """A value that the column takes; where it refers to another table, one that is there."""
    for key in column.foreign_keys:
        return connection.execute(sa.select(key.column)).scalars().first()
    values: dict[type, Any] = {bool: True, int: 1, float: 0.5, str: schema.now()[: getattr(column.type, "length", 0)]}
    if isinstance(column.type, sa.JSON):
        return {"说": ["a", 1, None]}
    return b"\x00\xff" if isinstance(column.type, sa.LargeBinary) else values[column.type.python_type]


@pytest.mark.parametrize("there_and_back", ["there", "back"])
def test_a_backup_of_one_database_restores_on_the_other(
    instance: Instance, on_sqlite: Instance, tmp_path: Path, there_and_back: str
) -> None:
    source, target = (on_sqlite, instance) if there_and_back == "there" else (instance, on_sqlite)
    source.fill()
    source.backup(tmp_path / "all.dizuo")
    target.restore(tmp_path / "all.dizuo")
    assert target.state() == source.state()
    member = target.identity.create_user("next")  # the counters go on behind what came in
    assert member.id == max(user["id"] for user in source.rows(schema.users)) + 1


def test_chunks_get_numbers_that_were_never_used_and_caches_see_another_version(
    instance: Instance, tmp_path: Path
) -> None:
    instance.fill()
    instance.backup(tmp_path / "all.dizuo")
    used = {row["row"] for row in instance.rows(schema.chunks)}
    versions = {7}
    for _n in range(3):
        instance.restore(tmp_path / "all.dizuo")
        numbers = {row["row"] for row in instance.rows(schema.chunks)}
        [base] = instance.rows(schema.knowledge)
        assert min(numbers) > max(used)
        assert base["version"] > max(versions)
        assert numbers == {row["row"] for row in instance.rows(schema.vectors)}
        used |= numbers
        versions.add(base["version"])
    assert max(used) < 20  # and the numbers do not run away


def test_ways_in_do_not_come_back(instance: Instance, tmp_path: Path) -> None:
    instance.fill()
    key, secret = instance.identity.create_key("leaked")
    _other, good = instance.identity.create_key("good")
    rotated, older = instance.identity.create_key("rotated")
    session = instance.identity.login("owner", "correct horse battery", "127.0.0.1")
    link = instance.identity.login_link("owner")
    instance.backup(tmp_path / "all.dizuo")
    instance.identity.revoke_key(key.prefix)
    _rotated, newer = instance.identity.rotate_key(rotated.id)
    instance.restore(tmp_path / "all.dizuo")
    assert instance.identity.session(session) is None
    assert instance.identity.user_of_key(older) is None  # rotated after the backup
    assert instance.identity.user_of_key(newer) is not None
    assert instance.identity.user_of_key(secret) is None  # revoked after the backup, and it stays so
    assert instance.identity.user_of_key(good) is not None
    with pytest.raises(UserError, match="link"):
        instance.identity.redeem(link, "a new password")
    content = gzip.decompress((tmp_path / "all.dizuo").read_bytes())
    assert b"token_hash" not in content


def test_rows_with_the_size_of_books_come_back(on_sqlite: Instance, tmp_path: Path) -> None:
    on_sqlite.fill()
    text = "".join(chr(0x4E00 + n % 20_000) for n in range(2_000_000))
    with on_sqlite.database.write() as connection:
        connection.execute(schema.documents.update().values(text=text))
    on_sqlite.backup(tmp_path / "big.dizuo")
    on_sqlite.restore(tmp_path / "big.dizuo")
    assert on_sqlite.rows(schema.documents)[0]["text"] == text


def test_a_backup_is_one_moment_however_busy_the_instance_is(instance: Instance, tmp_path: Path) -> None:
    instance.fill()
    stop = threading.Event()

    def keep_writing() -> None:
        at, n = schema.now(), 0
        while not stop.is_set():
            n += 1
            with instance.database.write() as connection:
                values = {"id": f"t{n}", "knowledge": "kb", "title": "t", "created_at": at, "updated_at": at}
                connection.execute(schema.threads.insert().values(values))
                message = {"thread_id": f"t{n}", "role": "user", "content": "x", "created_at": at}
                connection.execute(schema.thread_messages.insert().values(message))

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        infos = [instance.backup(tmp_path / f"{n}.dizuo") for n in range(5)]
    finally:
        stop.set()
        writer.join()
    assert all(info.rows["threads"] == info.rows["thread_messages"] for info in infos)
    assert infos[0].rows["threads"] < infos[-1].rows["threads"]


def test_a_file_that_is_gone_is_counted_and_does_not_stand_in_the_way(on_sqlite: Instance, tmp_path: Path) -> None:
    on_sqlite.fill()
    for name in list(on_sqlite.blobs.names()):
        on_sqlite.blobs.delete(name)
    info = on_sqlite.backup(tmp_path / "all.dizuo")
    assert (info.files, info.missing_files) == (0, 1)
    assert on_sqlite.restore(tmp_path / "all.dizuo") == info


# --- writing ------------------------------------------------------------------------------------------------------


def test_an_existing_file_is_not_overwritten(on_sqlite: Instance, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(Conflict, match="exists already"):
        on_sqlite.backup(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_full_disk_is_said_and_leaves_nothing(
    on_sqlite: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_sqlite.fill()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"all\.dizuo cannot be written: No space left"):
        on_sqlite.backup(tmp_path / "all.dizuo")
    with pytest.raises(UserError, match="No space left"):
        snapshot(on_sqlite.database, on_sqlite.blobs, on_sqlite.home, "test")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == [on_sqlite.home / "snapshots"]


def test_a_folder_that_is_not_there_is_said(on_sqlite: Instance, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file or directory"):
        on_sqlite.backup(tmp_path / "missing" / "all.dizuo")


def test_a_backup_is_for_its_owner_s_eyes_alone(kept: Path) -> None:
    assert kept.stat().st_mode & 0o777 == 0o600


# --- files that are no good ---------------------------------------------------------------------------------------


def test_any_changed_byte_and_any_cut_is_noticed_before_anything_is_touched(on_sqlite: Instance, kept: Path) -> None:
    before, content, rng = on_sqlite.state(), kept.read_bytes(), random.Random(20261124)
    forged = kept.with_name("forged.dizuo")
    # Bytes 3 to 9 of a gzip are its time and system, which nobody reads.
    for position in rng.sample(range(10, len(content)), 40):
        flipped = content[position] ^ (1 << rng.randrange(8))
        changed = content[:position] + bytes([flipped]) + content[position + 1 :]
        if not unpacks_alike(changed, content):  # the last bits of a deflate block fill up its byte and mean nothing
            forged.write_bytes(changed)
            with pytest.raises(UserError, match="Nothing was changed"):
                on_sqlite.restore(forged)
        forged.write_bytes(content[:position])
        with pytest.raises(UserError, match="Nothing was changed"):
            on_sqlite.restore(forged)
    assert on_sqlite.state() == before
    assert snapshots(on_sqlite.home) == []


def unpacks_alike(one: bytes, other: bytes) -> bool:
    try:
        return gzip.decompress(one) == gzip.decompress(other)
    except (OSError, EOFError, zlib.error):
        return False


def forged_tar(path: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with tarfile.open(file, "w:gz") as tar:
            info = tarfile.TarInfo(path)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)

    return write


def a_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as bundle:
        bundle.writestr("../../escape.txt", "out of the box")


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_text("not a backup at all\n" * 100),
        lambda file: file.write_bytes(gzip.compress(b"not a tar\n" * 100)),
        lambda file: file.mkdir(),
        lambda file: None,
        a_zip,
        forged_tar("../../escape.txt"),
        forged_tar("/etc/passwd"),
        forged_tar("head.json", tarfile.SYMTYPE),
        forged_tar("files/" + "a" * 64, tarfile.LNKTYPE),
        forged_tar("files/" + "a" * 64),
    ],
)
def test_what_is_no_backup_is_refused(on_sqlite: Instance, tmp_path: Path, write: Callable[[Path], Any]) -> None:
    on_sqlite.fill()
    before = on_sqlite.state()
    write(tmp_path / "file")
    with pytest.raises(UserError, match=r"not a Dizuo backup|damaged|cut off|cannot be read"):
        on_sqlite.restore(tmp_path / "file")
    assert on_sqlite.state() == before
    assert not (tmp_path / "escape.txt").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: head_of(m, format=3), "backup format 3"),
        (lambda m: lies(m, "../runs/x"), "leads out"),
        (lambda m: lies(m, "/etc/x"), "leads out"),
        (lambda m: lies(m, ""), "leads out"),
        (lambda m: head_of(m, format="x"), "damaged"),
        (lambda m: head_of(m, revision="0999"), "newer Dizuo"),
        (lambda m: head_of(m, revision="../../x"), "damaged"),
        (lambda m: m.update({"head.json": b"[" * 100_000}), "damaged"),
        (lambda m: m.update({"tables/users/000001.jsonl": b'[1,"x"]\n'}), "damaged"),
        (lambda m: m.pop("files/" + hashlib.sha256(FILE).hexdigest()), "damaged"),
        (lambda m: m.update({"tables/users/000001.jsonl": m.pop("tables/users/000001.jsonl")}), "damaged"),  # too late
    ],
)
def test_a_consistent_forgery_is_refused(
    on_sqlite: Instance, kept: Path, change: Callable[[dict[str, bytes]], Any], complaint: str
) -> None:
    before = on_sqlite.state()
    with pytest.raises(UserError, match=complaint):
        on_sqlite.restore(rewritten(kept, change))
    assert on_sqlite.state() == before


def add_session(members: dict[str, bytes]) -> None:
    head = json.loads(members["head.json"])
    head_of(members, tables={**head["tables"], "sessions": [column.name for column in schema.sessions.c]})
    files = {name: members.pop(name) for name in list(members) if name.startswith("files/")}
    members["tables/sessions/000001.jsonl"] = b'["hash",1,"csrf","2020","2999"]\n'
    members.update(files)


@pytest.mark.parametrize(
    "change",
    [
        add_session,
        lambda m: m.update(
            {"tables/users/000001.jsonl": b'[1,"x","owner",null,"2020"]\n[1,"y","owner",null,"2020"]\n'}
        ),
        lambda m: m.update({"tables/vectors/000001.jsonl": b'["x",1,"m","AAAA"]\n'}),
        lambda m: m.update({"tables/vectors/000001.jsonl": b'[1,1,"m","no base64"]\n'}),
    ],
)
def test_rows_that_the_database_refuses_leave_the_present_state(
    on_sqlite: Instance, kept: Path, change: Callable[[dict[str, bytes]], Any]
) -> None:
    before = on_sqlite.state()
    with pytest.raises(UserError, match=r"could not be restored|does not know"):
        on_sqlite.restore(rewritten(kept, change))
    assert on_sqlite.state() == before


# --- jobs ---------------------------------------------------------------------------------------------------------


def test_a_job_that_was_under_way_is_under_way_again(instance: Instance, tmp_path: Path) -> None:
    instance.fill()
    upload, _size = instance.blobs.put(io.BytesIO(b"waiting to be read"))
    with instance.database.write() as connection:
        connection.execute(schema.jobs.update().values(status="running", finished=1))
        waiting = schema.job_items.update().where(schema.job_items.c.position == 1)
        connection.execute(waiting.values(status="waiting", args={"blob": upload}))
    instance.backup(tmp_path / "all.dizuo")
    instance.blobs.delete(upload)
    instance.restore(tmp_path / "all.dizuo")
    assert [job["status"] for job in instance.rows(schema.jobs)] == ["running"]
    assert instance.blobs.exists(upload)


def test_nothing_is_replaced_under_a_job_that_runs(instance: Instance, tmp_path: Path) -> None:
    instance.fill()
    instance.backup(tmp_path / "all.dizuo")
    with instance.database.write() as connection:
        connection.execute(schema.jobs.update().values(status="running"))
    worker = WorkerLock(instance.home)
    worker.acquire()
    try:
        with pytest.raises(Conflict, match="dizuo job cancel job_1"):
            instance.restore(tmp_path / "all.dizuo")
    finally:
        worker.release()
    assert instance.rows(schema.jobs)[0]["status"] == "running"
    instance.restore(tmp_path / "all.dizuo")  # the worker is dead: there is nobody to disturb
    assert instance.rows(schema.jobs)[0]["status"] == "done"


# --- files of runs ------------------------------------------------------------------------------------------------


def test_files_of_runs_come_back_and_what_took_their_place_can_too(instance: Instance, tmp_path: Path) -> None:
    first, second = instance.home / "runs" / "run_1", instance.home / "runs" / "run_2" / "报告"
    for folder in (first, second):
        folder.mkdir(parents=True)
    (first / "table.csv").write_bytes(b"a,b\n")
    (first / "same.csv").write_bytes(b"a,b\n")
    (second / "图.svg").write_bytes(b"<svg/>")
    (first / "link").symlink_to(tmp_path)
    before = files_of_runs(instance)
    info = instance.backup(tmp_path / "all.dizuo")
    assert (info.files, info.rows["_files"]) == (2, 3)
    (first / "table.csv").write_bytes(b"changed")
    (first / "new.txt").write_bytes(b"new")
    changed = files_of_runs(instance)
    instance.restore(tmp_path / "all.dizuo")
    assert files_of_runs(instance) == before
    assert not (first / "link").is_symlink()
    [taken] = snapshots(instance.home)
    instance.restore(taken.file)
    assert files_of_runs(instance) == changed
    assert (first / "link").is_symlink(), "what was put aside comes back as it was"


def test_a_restore_that_fails_leaves_the_files_of_runs(on_sqlite: Instance, kept: Path) -> None:
    (on_sqlite.home / "runs" / "run_1").mkdir(parents=True)
    (on_sqlite.home / "runs" / "run_1" / "a.txt").write_bytes(b"a")
    with pytest.raises(UserError, match="could not be restored"):
        on_sqlite.restore(rewritten(kept, lambda m: m.update({"tables/vectors/000001.jsonl": b'["x",1,"m","AA"]\n'})))
    assert files_of_runs(on_sqlite) == {"run_1/a.txt": b"a"}
    assert not [path for path in (on_sqlite.home / "snapshots").iterdir() if path.name.startswith(".")]


def test_a_backup_from_before_there_were_files_of_runs_leaves_them_alone(on_sqlite: Instance, kept: Path) -> None:
    def older(members: dict[str, bytes]) -> None:
        tables = json.loads(members["head.json"])["tables"]
        head_of(members, format=1, tables={name: columns for name, columns in tables.items() if name != "_files"})

    (on_sqlite.home / "runs").mkdir()
    (on_sqlite.home / "runs" / "a.txt").write_bytes(b"a")
    on_sqlite.restore(rewritten(kept, older))
    assert files_of_runs(on_sqlite) == {"a.txt": b"a"}


# --- snapshots ----------------------------------------------------------------------------------------------------


def test_restoring_can_be_taken_back_with_the_files_deleted_since(instance: Instance, tmp_path: Path) -> None:
    instance.backup(tmp_path / "empty.dizuo")
    instance.fill()
    before = instance.state()
    instance.restore(tmp_path / "empty.dizuo")
    assert instance.rows(schema.documents) == []
    for name in list(instance.blobs.names()):
        instance.blobs.delete(name)
    [taken] = snapshots(instance.home)
    assert taken.label == "before-restore"
    instance.restore(taken.file)
    assert instance.state() == before
    assert instance.blobs.path(before["documents"][0]["blob"]).read_bytes() == FILE


def test_the_newest_snapshots_are_kept(on_sqlite: Instance) -> None:
    on_sqlite.fill()
    made = [snapshot(on_sqlite.database, on_sqlite.blobs, on_sqlite.home, f"n{n}") for n in range(KEPT_SNAPSHOTS + 2)]
    assert [taken.file for taken in snapshots(on_sqlite.home)] == made[:1:-1]
    assert len(list((on_sqlite.home / "snapshots").iterdir())) == 2 * KEPT_SNAPSHOTS


def test_a_snapshot_whose_files_are_gone_is_refused(on_sqlite: Instance) -> None:
    on_sqlite.fill()
    file = snapshot(on_sqlite.database, on_sqlite.blobs, on_sqlite.home, "test")
    [stored] = file.with_suffix(".files").iterdir()
    stored.unlink()
    with pytest.raises(UserError, match="not all there"):
        on_sqlite.restore(file)


def test_a_database_file_that_is_broken_is_set_aside_and_replaced(on_sqlite: Instance, kept: Path) -> None:
    before = on_sqlite.state()
    on_sqlite.database.close()
    broken = on_sqlite.home / "dizuo.db"
    broken.write_bytes(b"not a database any more" * 1000)
    for end in ("-wal", "-shm"):
        broken.with_name(broken.name + end).unlink(missing_ok=True)
    on_sqlite.restore(kept)
    assert on_sqlite.state() == before
    [aside] = (on_sqlite.home / "snapshots").glob("broken-*.db")
    assert aside.read_bytes().startswith(b"not a database")


def test_the_tables_of_a_worked_in_database_are_all_known(home: Path) -> None:
    """DBOS keeps its tables beside ours on SQLite. Here a table of a new DBOS shows up."""
    from dizuo.platform.jobs import Jobs

    database = migrated(f"sqlite:///{home / 'dizuo.db'}", home)
    jobs = Jobs(database, home)
    jobs.start()
    jobs.close()
    with database.read() as connection:
        names = set(sa.inspect(connection).get_table_names())
    database.close()
    ours = {*schema.metadata.tables, "alembic_version"}
    assert {n for n in names - ours if not n.startswith("chunk_terms")} == backup_tables._OF_DBOS


# --- older and newer schemas --------------------------------------------------------------------------------------

HEAD = revisions.head()
LATER = f"{int(HEAD) + 1:04}"
NEXT = f"""
import sqlalchemy as sa
from alembic import op

revision = "{LATER}"
down_revision = "{HEAD}"


def upgrade() -> None:
    op.add_column("knowledge", sa.Column("shouted", sa.String(64)))
    op.execute("UPDATE knowledge SET shouted = upper(name)")
    op.create_table("news", sa.Column("id", sa.Integer(), primary_key=True))
"""


class Time:
    """Moves this process between a Dizuo of now and one that knows a migration more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        import shutil

        self._patch, self._now, self._later = monkeypatch, revisions._SCRIPTS, tmp_path / "later"
        shutil.copytree(self._now, self._later, ignore=shutil.ignore_patterns("__pycache__"))
        (self._later / "versions" / f"{LATER}_news.py").write_text(NEXT)

    def later(self) -> None:
        sa.Table("news", schema.metadata, extend_existing=True)
        self._go(self._later)

    def now(self) -> None:
        if "news" in schema.metadata.tables:
            schema.metadata.remove(schema.metadata.tables["news"])
        self._go(self._now)

    def _go(self, scripts: Path) -> None:
        self._patch.setattr(revisions, "_SCRIPTS", scripts)
        revisions.head.cache_clear()


@pytest.fixture
def time_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Time]:
    machine = Time(monkeypatch, tmp_path)
    yield machine
    machine.now()


def shouted(instance: Instance) -> str | None:
    with instance.database.read() as connection:
        return connection.scalar(sa.text("SELECT shouted FROM knowledge"))


def upgrade(instance: Instance) -> None:
    migrate.upgrade(instance.database, instance.blobs, instance.home)


def test_a_backup_of_an_older_schema_is_brought_to_the_present_one(
    instance: Instance, time_machine: Time, tmp_path: Path
) -> None:
    instance.fill()
    instance.backup(tmp_path / "old.dizuo")
    time_machine.later()
    upgrade(instance)
    with instance.database.write() as connection:
        connection.execute(sa.text("UPDATE knowledge SET shouted = 'lost'"))
    instance.restore(tmp_path / "old.dizuo")
    assert shouted(instance) == "KB"
    upgrade(instance)
    assert [taken.revision for taken in snapshots(instance.home)] == [LATER, HEAD]


def test_a_snapshot_before_a_migration_rolls_it_back(on_sqlite: Instance, time_machine: Time) -> None:
    on_sqlite.fill()
    before = on_sqlite.state()
    time_machine.later()
    upgrade(on_sqlite)
    assert shouted(on_sqlite) == "KB"
    time_machine.now()  # the version of before is installed again
    with pytest.raises(UserError, match="newer Dizuo"):
        upgrade(on_sqlite)
    [taken] = snapshots(on_sqlite.home)
    on_sqlite.restore(taken.file)
    upgrade(on_sqlite)
    assert on_sqlite.state() == before
    with on_sqlite.database.read() as connection:
        assert not sa.inspect(connection).has_table("news")
    time_machine.later()
    upgrade(on_sqlite)  # and forward again
    assert shouted(on_sqlite) == "KB"


@pytest.mark.postgres
def test_tables_of_a_newer_dizuo_on_postgresql_are_left_alone(
    postgres_server: Any, time_machine: Time, kept: Path, tmp_path: Path
) -> None:
    url = postgres_server.new_database()
    instance = Instance(migrated(url, tmp_path / "home"), tmp_path / "home")
    time_machine.later()
    upgrade(instance)
    time_machine.now()
    with pytest.raises(UserError, match="new, empty database"):
        instance.restore(kept)
    instance.database.close()
    postgres_server.drop(url)


def test_the_key_of_an_instance_is_in_no_backup_and_no_key_of_a_provider_is_readable(
    on_sqlite: Instance, tmp_path: Path
) -> None:
    from dizuo.gateway.providers import Providers
    from dizuo.platform.secrets import FILE as KEY_FILE
    from dizuo.platform.secrets import Secrets

    key = "sk-very-secret-0123456789"
    Providers(on_sqlite.database, Secrets(on_sqlite.home)).add("openai", key=key)
    file = tmp_path / "all.dizuo"
    on_sqlite.backup(file)
    on_sqlite.restore(file)
    own = (on_sqlite.home / KEY_FILE).read_text().strip()
    content = gzip.decompress(file.read_bytes())
    assert b"providers" in content
    assert not [one for one in (key, own, KEY_FILE) if one.encode() in content]
    assert Providers(on_sqlite.database, Secrets(on_sqlite.home)).access("openai").key == key
    elsewhere = Providers(on_sqlite.database, Secrets(tmp_path / "elsewhere")).get("openai")
    assert elsewhere.problem is not None
