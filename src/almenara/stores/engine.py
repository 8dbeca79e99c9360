"""ClickHouse inside this process (`chdb`): sessions on one folder, inserts and queries in columns, plain errors.

Traps: one process can have one folder open at a time, and one process can have a folder. A forked child that queries
hangs. An insert that is left without `finish()` is thrown away in silence. An insert that fails while it is committed,
as on a full disk, says nothing either (chdb 4.4): after every insert the engine is asked whether it had an error, and
where it had any, by whomever, the rows are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from xml.sax.saxutils import escape

from almenara.model.errors import DiskFull, MissingExtra, StoreError
from almenara.stores.native import decode_blocks, encode_chunks

_FULL = ("NOT_ENOUGH_SPACE", "No space left on device", "Disk quota exceeded")

#: An engine made for servers, kept small: a quarter of the caches' limit each goes to marks, index and skip index.
#: A delete takes up each part that it touches as a task; with no more places than two a thread (the default) it waits
#: about a second for every four parts. Statistics for a query planner that never needs them cost a tenth of a merge;
#: blocks of 256 Ki rows, for eight, save a quarter of it. Compressed blocks of 256 kB, for 64, save a sixth of an
#: insert, for one or two ms more in a read of one series. A merge costs twice what the insert of its rows did, so it
#: waits for some 23 parts of one size, for 10: reads look at those of their time.
_CONFIG = """<clickhouse>
  <mark_cache_size>{part}</mark_cache_size>
  <primary_index_cache_size>{part}</primary_index_cache_size>
  <index_mark_cache_size>{part}</index_mark_cache_size>
  <query_condition_cache_size>{part}</query_condition_cache_size>
  <background_pool_size>{threads}</background_pool_size>
  <background_merges_mutations_concurrency_ratio>8</background_merges_mutations_concurrency_ratio>
  <background_common_pool_size>1</background_common_pool_size>
  <background_schedule_pool_size>1</background_schedule_pool_size>
  <asynchronous_metrics_update_period_s>60</asynchronous_metrics_update_period_s>
  <memory_worker_period_ms>1000</memory_worker_period_ms>
  <merge_tree>
    <auto_statistics_types></auto_statistics_types>
    <merge_max_block_size>262144</merge_max_block_size>
    <merge_max_block_size_bytes>67108864</merge_max_block_size_bytes>
    <merge_selector_base>30</merge_selector_base>
    <min_compress_block_size>262144</min_compress_block_size>
  </merge_tree>
</clickhouse>
"""

_SETTINGS = {
    "max_insert_threads": 1,
    "optimize_on_insert": 0,  # rows of one insert are sorted, each once: looking for some to replace costs a third
    "min_insert_block_size_rows": 1 << 30,  # one insert is one part, however large
    "min_insert_block_size_bytes": 1 << 40,
    "enable_alp_codec": 1,
    "max_partitions_per_insert_block": 0,
    "do_not_merge_across_partitions_select_final": 1,
    "max_query_size": 64 * 1024 * 1024,  # a selection of 100,000 ids is one long statement
    "max_ast_elements": 10_000_000,
    "max_expanded_ast_elements": 10_000_000,
    "lightweight_deletes_sync": 2,
    "mutations_sync": 2,
}

_open_folder: dict[str, Path] = {}
_lock = Lock()


def explain(error: Exception, doing: str) -> StoreError | DiskFull:
    """The engine's error as ours: the first line of what it said, and what was being done."""
    text = str(error)
    if any(word in text for word in _FULL):
        return DiskFull(f"{doing}: no space left on the store's disk", retry_after_s=30.0)
    return StoreError(f"{doing}: {text.strip().splitlines()[0][:500] if text.strip() else type(error).__name__}")


class Engine:
    """The one folder that this process has open; gives sessions, one a thread."""

    def __init__(self, folder: Path, cache_mb: int, threads: int):
        try:
            import chdb.session  # heavy: half a second and 250 MB, so only when a store is opened
        except ImportError as error:
            raise MissingExtra("the chdb store", "hub") from error
        self.folder = folder.resolve()
        if any(mark in str(self.folder) for mark in "?&"):
            raise StoreError(f"store {self.folder}: the engine cannot open a folder with ? or & in its name")
        with _lock:
            if _open_folder:
                raise StoreError(
                    f"store {self.folder}: this process has {_open_folder['path']} open already, and the engine can "
                    "have one folder open at a time; close that one first"
                )
            _open_folder["path"] = self.folder
        self._threads, self._make, self._sessions = threads, chdb.session.Session, set[Session]()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            config = self.folder / "engine.xml"
            part = max(1, cache_mb) * 1024 * 1024 // 4
            config.write_text(_CONFIG.format(part=part, threads=escape(str(threads))))
            self._path = f"{self.folder / 'clickhouse'}?config-file={config}"
            self.main = self.session()
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise StoreError(f"store {self.folder}: {error.strerror}") from error
            raise

    def session(self) -> Session:
        """A new session, for one thread at a time."""
        try:
            session = Session(self, self._make(self._path), self._threads)
        except RuntimeError as error:
            if "Cannot lock file" in str(error) or "another server instance" in str(error):
                raise StoreError(f"store {self.folder}: another process has it open; stop that one first") from error
            raise explain(error, f"opening store {self.folder}") from error
        self._sessions.add(session)
        return session

    def forget(self, session: Session) -> None:
        """A session was closed."""
        self._sessions.discard(session)

    def close(self) -> None:
        """Close all sessions; another folder can be opened after that."""
        for session in list(self._sessions):
            session.close()
        self._let_go()

    def _let_go(self) -> None:
        with _lock:
            _open_folder.clear()


class Session:
    """Queries and inserts of one thread."""

    def __init__(self, engine: Engine, session: Any, threads: int):
        self._engine, self._session = engine, session
        self._errors_seen: int | None = None
        settings = {**_SETTINGS, "max_threads": threads}
        self.do("SET " + ", ".join(f"{name} = {value}" for name, value in settings.items()))

    def query(self, sql: str, doing: str) -> list[Any]:
        """The columns of the answer, an empty list where there are no rows."""
        try:
            result = self._live().query(sql, "Native")
            return decode_blocks(result.bytes()) if result.size() else []
        except RuntimeError as error:
            raise explain(error, doing) from error

    def do(self, sql: str, doing: str = "setting up the store") -> None:
        """A statement without an answer."""
        self.query(sql, doing)

    def insert(
        self, table: str, columns: Sequence[tuple[str, str, Any]], rows: int, doing: str, where: str, token: str = ""
    ) -> None:
        """One block into `table`, durable on return; `where` holds for its rows and few others. A token seen before
        does nothing. Raises DiskFull or StoreError when the rows are not there afterwards."""
        if self._errors_seen is None:
            self._errors_seen = self._errors(doing)
        names = ", ".join(name for name, _, _ in columns)
        settings = f" SETTINGS insert_deduplication_token = '{token}'" if token else ""
        try:
            with self._live().send_insert(f"INSERT INTO {table} ({names}){settings}", "Native") as insert:
                for chunk in encode_chunks(columns, rows):
                    insert.append(chunk)
                insert.finish()
        except RuntimeError as error:
            raise explain(error, doing) from error
        before, self._errors_seen = self._errors_seen, self._errors(doing)
        if self._errors_seen != before:
            self._check_there(table, where, rows, doing)

    def _check_there(self, table: str, where: str, rows: int, doing: str) -> None:
        """Raises the engine's latest error where rows are missing that were just inserted."""
        count = f"SELECT count() FROM {table} WHERE {where} SETTINGS max_threads = 1"
        if int(self.query(count, doing)[0][0]) < rows:
            sql = "SELECT CAST(name, 'String'), last_error_message FROM system.errors"
            name, message = self.query(f"{sql} ORDER BY last_error_time DESC LIMIT 1", doing)
            raise explain(RuntimeError(f"{name[0].decode()}: {message[0].decode(errors='replace')}"), doing)

    def _errors(self, doing: str) -> int:
        """How many errors the engine has had, those apart that say a token was seen before."""
        sql = "SELECT toUInt64(sum(value)) FROM system.errors WHERE name != 'INSERT_WAS_DEDUPLICATED'"
        sql += " SETTINGS max_threads = 1"
        return int(self.query(sql, doing)[0][0])

    def close(self) -> None:
        """Give the session back; calling it twice is harmless."""
        if self._session is not None:
            self._session.close()
            self._session = None
            self._engine.forget(self)

    def _live(self) -> Any:
        if self._session is None:
            raise StoreError(f"store {self._engine.folder}: this session is closed")
        return self._session
