"""The indexes of search that the ORM does not know: FTS5 on SQLite, GIN and HNSW on PostgreSQL.

Made by a migration. On SQLite also looked after whenever migrations have run: one that builds the table of chunks anew
silently takes its triggers away.
"""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from chats.knowledge.models.fields import has_vector_type

# Of the vectors that the built-in embedders and the common models of providers make. HNSW needs to know how many
# numbers a vector has; other ones are compared one by one. An index without rows costs nothing.
DIMENSIONS = (256, 384, 512, 768, 1024, 1536)

# The most numbers that pgvector's HNSW takes: as they are, and as half as precise ones.
VECTOR_MAX, HALFVEC_MAX = 2_000, 4_000
_LOCK = 0x5041524C  # any number, that nothing else here locks

_FTS = (
    """CREATE VIRTUAL TABLE IF NOT EXISTS knowledge_terms USING fts5(
        terms, content='knowledge_chunk', content_rowid='id', tokenize="unicode61 remove_diacritics 0")""",
    "CREATE VIRTUAL TABLE IF NOT EXISTS knowledge_terms_rows USING fts5vocab(knowledge_terms, 'row')",
    """CREATE TRIGGER IF NOT EXISTS knowledge_chunk_added AFTER INSERT ON knowledge_chunk BEGIN
        INSERT INTO knowledge_terms(rowid, terms) VALUES (new.id, new.terms); END""",
    """CREATE TRIGGER IF NOT EXISTS knowledge_chunk_removed AFTER DELETE ON knowledge_chunk BEGIN
        INSERT INTO knowledge_terms(knowledge_terms, rowid, terms) VALUES ('delete', old.id, old.terms); END""",
)
_NO_FTS = (
    "DROP TRIGGER IF EXISTS knowledge_chunk_added",
    "DROP TRIGGER IF EXISTS knowledge_chunk_removed",
    "DROP TABLE IF EXISTS knowledge_terms_rows",
    "DROP TABLE IF EXISTS knowledge_terms",
)
_COUNT_TRIGGERS = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'knowledge_chunk'"
_REBUILD = "INSERT INTO knowledge_terms(knowledge_terms) VALUES ('rebuild')"
_GIN = "CREATE INDEX knowledge_chunk_terms ON knowledge_chunk USING gin (terms) WITH (fastupdate = off)"


def make_vector_type(_apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    """pgvector, where the server has it and lets us; else vectors are bytes, and compared here."""
    if editor.connection.vendor != "postgresql":
        return
    with editor.connection.cursor() as cursor:
        cursor.execute(
            """DO $$ BEGIN
                IF to_regtype('vector') IS NULL
                    AND EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector') THEN
                    CREATE EXTENSION vector;
                END IF;
            EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"""
        )


def make_indexes(_apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    with editor.connection.cursor() as cursor:
        if editor.connection.vendor == "sqlite":
            for statement in _FTS:
                cursor.execute(statement)
            return
        cursor.execute(_GIN)
        for number in DIMENSIONS if has_vector_type(editor.connection) else ():
            cursor.execute(
                f"CREATE INDEX knowledge_embedding_{number} ON knowledge_embedding"
                f" USING hnsw ((vectors::vector({number})) vector_cosine_ops) WHERE dimensions = {number}"
            )


def make_vector_index(connection: BaseDatabaseWrapper, dimensions: int) -> None:
    """HNSW for vectors of this length, unless it is there or can't be. Not in a transaction; needs pgvector."""
    cast = searched_type(connection, dimensions)
    if dimensions in DIMENSIONS or cast is None:
        return
    name, operators = f"knowledge_embedding_{dimensions}", f"{cast.partition('(')[0]}_cosine_ops"
    with connection.cursor() as cursor:
        # Two at once would wait for each other for ever. Who comes second finds it made, or at the next occasion.
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, dimensions])
        if cursor.fetchone() != (True,):
            return
        try:
            cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name])
            found = cursor.fetchone()
            if found == (True,):
                return
            cursor.execute("SET statement_timeout = 0")
            if found is not None:
                # It broke off, as when the server was stopped in the middle.
                cursor.execute(f"DROP INDEX CONCURRENTLY {name}")
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON knowledge_embedding"
                f" USING hnsw ((vectors::{cast}) {operators}) WHERE dimensions = {dimensions}"
            )
        finally:
            cursor.execute("RESET statement_timeout")
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, dimensions])


def version_of_pgvector(connection: BaseDatabaseWrapper) -> tuple[int, ...]:
    """Of the extension in this database; () without it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        found = cursor.fetchone()
    return tuple(int(part) for part in found[0].split(".") if part.isdigit()) if found else ()


def searched_type(connection: BaseDatabaseWrapper, dimensions: int) -> str | None:
    """As what vectors of this length are indexed by pgvector; None: they are too long, and compared one by one."""
    if dimensions <= VECTOR_MAX:
        return f"vector({dimensions})"
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regtype('halfvec') IS NOT NULL")
        (has_halfvec,) = cursor.fetchone()
    return f"halfvec({dimensions})" if has_halfvec and dimensions <= HALFVEC_MAX else None


def drop_indexes(_apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    if editor.connection.vendor == "sqlite":
        with editor.connection.cursor() as cursor:
            for statement in _NO_FTS:
                cursor.execute(statement)


def mend_full_text(connection: BaseDatabaseWrapper) -> None:
    """Bring the triggers of an SQLite database back where they are gone, and what was written without them."""
    if connection.vendor != "sqlite" or "knowledge_terms" not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_TRIGGERS)
        if cursor.fetchone() != (2,):
            for statement in (*_FTS, _REBUILD):
                cursor.execute(statement)
