"""The two ways of searching, in the SQL of each database. What is found are versions, and places of chunks in them.

On PostgreSQL words are found by GIN and vectors by pgvector's HNSW; on SQLite by FTS5, and by comparing all vectors of
a person with numpy, which PostgreSQL without pgvector does too.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection, transaction

from accounts.models import User
from accounts.queries import stored
from chats.knowledge.full_text import searched_type, version_of_pgvector
from chats.knowledge.models import DocumentVersion, Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = tuple[UUID, int]  # a version, and the place of a chunk in it

# The rarest words of a question say most of it. Beyond so many chunks that have one of them, the others only cost time.
TERMS_MAX = 24
MATCHES_MAX = 1500
# PostgreSQL counts what has a term only so far; beyond, it says what its planner expects, which costs nothing.
COUNTED_MAX = 30
# In a place with fewer chunks all vectors are compared, which is exact; HNSW would look through others first.
EXACT_MAX = 4_000
ROWS_AT_ONCE = 64
K1, B, USUAL_TERMS = 1.2, 0.5, 90
USUAL_SIGNS = 7.0 * USUAL_TERMS  # with the blanks between them


@dataclass(frozen=True)
class Place:
    """Whose documents, and which: a condition on the row `d` of documents, empty for all, with its values."""

    user: User
    condition: str
    values: Sequence[Any]

    @property
    def where(self) -> str:
        return f"({self.condition})" if self.condition else "1 = 1"


_MATCHING = "SELECT 1 FROM knowledge_chunk WHERE terms @@ %s::tsquery"
_ONE = f"({_MATCHING} LIMIT 1)"
_COUNT = f"(SELECT count(*) FROM ({_MATCHING} LIMIT {COUNTED_MAX}) found)"  # noqa: S608 - constants
# A chunk counts while its version is the one that its document shows.
_CURRENT = "JOIN knowledge_document d ON d.current_id = {0}.version_id AND d.deleted_at IS NULL AND d.user_id = %s"


def mark_of(user_id: UUID) -> str:
    """A term that stands in all chunks of a person: the index of words leaves out those of others by it."""
    return f"user{user_id.hex}"


_CHUNKS_IN_PLACE = """
    SELECT coalesce(sum(v.chunk_count), 0) FROM knowledge_document d
    JOIN knowledge_documentversion v ON v.id = d.current_id WHERE d.user_id = %s AND d.deleted_at IS NULL AND {}
"""
_COUNT_OF_FTS = "SELECT count(*) FROM (SELECT 1 FROM knowledge_terms WHERE knowledge_terms MATCH %s LIMIT %s)"
_HAS = "SELECT rowid AS id, %s AS weight FROM knowledge_terms WHERE knowledge_terms MATCH %s"


# ---------------------------------------------------------------- words
def text_hits(place: Place, terms: Sequence[str], *, limit: int) -> list[Key]:
    """The chunks that have these terms, those with the rarest and the most of them first."""
    counted = _counted(place.user, terms[:TERMS_MAX])
    if not counted:
        return []
    if connection.vendor == "postgresql":
        return _matches_of_gin(place, counted, limit)
    return _matches_of_fts(place, counted, limit)


def _counted(user: User, terms: Sequence[str]) -> list[tuple[str, int]]:
    """Which terms to look for, the rarest first, each with the number of chunks that have it."""
    counts = sorted(zip(terms, _counts(user, terms), strict=True), key=lambda item: item[1])
    chosen: list[tuple[str, int]] = []
    matches = 0
    for term, count in counts:
        if count and (not chosen or matches + count <= MATCHES_MAX):
            chosen.append((term, count))
            matches += count
    return chosen


def _counts(user: User, terms: Sequence[str]) -> list[int]:
    if not terms:
        return []
    if connection.vendor == "postgresql":
        return _counts_of_gin([_tsquery([term], mark_of(user.pk)) for term in terms])
    with connection.cursor() as cursor:
        # What nobody has needs no count. Nothing else that FTS5 knows of everybody's chunks may show in one's own hits.
        marks = ", ".join(["%s"] * len(terms))
        cursor.execute(f"SELECT term FROM knowledge_terms_rows WHERE term IN ({marks})", list(terms))  # noqa: S608 - constants
        known = {term for (term,) in cursor.fetchall()}
    return [_count_of_own(user, term) if term in known else 0 for term in terms]


def _counts_of_gin(queries: Sequence[str]) -> list[int]:
    """What the planner expects where that is much, as GIN would look at all of it to count; else counted so far."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT {', '.join([_ONE] * len(queries))}", queries)
        ((plan,),) = cursor.fetchall()
        expected = _rows_of_subplans(json.loads(plan) if isinstance(plan, str) else plan)
        unsure = [query for query, rows in zip(queries, expected, strict=True) if rows < 4 * MATCHES_MAX]
        counted: dict[str, int] = {}
        if unsure:
            cursor.execute(f"SELECT {', '.join([_COUNT] * len(unsure))}", unsure)
            counted = dict(zip(unsure, cursor.fetchone(), strict=True))
    return [
        counted[query] if counted.get(query, COUNTED_MAX) < COUNTED_MAX else max(rows, COUNTED_MAX)
        for query, rows in zip(queries, expected, strict=True)
    ]


def _rows_of_subplans(plan: Any) -> list[int]:
    """How many rows each subselect of a plan is expected to find, before its LIMIT."""
    subplans = sorted(plan[0]["Plan"]["Plans"], key=lambda each: int(re.findall(r"\d+", each["Subplan Name"])[0]))
    return [int(subplan["Plans"][0]["Plan Rows"]) for subplan in subplans]


def _count_of_own(user: User, term: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_OF_FTS, [_match(user, term), MATCHES_MAX + 1])
        return int(cursor.fetchone()[0])


def _match(user: User, term: str) -> str:
    return f'"{mark_of(user.pk)}" AND "{term}"'


def _weights(counted: Sequence[tuple[str, int]]) -> list[float]:
    """What each term says of a chunk that has it, as in BM25: the rarer, the more."""
    total = max(10 * MATCHES_MAX, *(count for _, count in counted))
    return [log(1 + (total - count + 0.5) / (count + 0.5)) for _, count in counted]


def _tsquery(terms: Sequence[str], mark: str) -> str:
    """Any of `terms`, with `mark`. They are letters and digits, so quotes hold them."""
    quoted = " | ".join(f"'{term}'" for term in terms)
    return f"({quoted}) & '{mark}'"


def _matches_of_gin(place: Place, counted: Sequence[tuple[str, int]], limit: int) -> list[Key]:
    """Ranked as BM25 would with each term once in a chunk: `ts_rank` does not know which terms are rare."""
    weights = _weights(counted)
    has = " + ".join(["(c.terms @@ %s::tsquery)::int * %s::float8"] * len(counted))
    sql = f"""
        SELECT c.version_id, c.index FROM knowledge_chunk c {_CURRENT.format("c")}
        WHERE c.terms @@ %s::tsquery AND {place.where}
        ORDER BY ({has}) / ({1 - B} + {B} * length(c.terms) / {USUAL_TERMS}.0 + {1 / K1}) DESC, c.id LIMIT %s
    """  # noqa: S608 - constants
    values: list[Any] = [
        stored(DocumentVersion, "id", place.user.pk),
        _tsquery([term for term, _ in counted], mark_of(place.user.pk)),
        *place.values,
    ]
    for (term, _), weight in zip(counted, weights, strict=True):
        values += [f"'{term}'", weight]
    return _keys(sql, [*values, limit])


def _matches_of_fts(place: Place, counted: Sequence[tuple[str, int]], limit: int) -> list[Key]:
    """Ranked as by GIN. FTS5's own rank is by how frequent a term is among everybody's chunks."""
    has = " UNION ALL ".join([_HAS] * len(counted))
    sql = f"""
        WITH found AS MATERIALIZED (SELECT id, sum(weight) AS weight FROM ({has}) GROUP BY id)
        SELECT c.version_id, c."index" FROM found JOIN knowledge_chunk c ON c.id = found.id {_CURRENT.format("c")}
        WHERE {place.where}
        ORDER BY found.weight / ({1 - B} + {B} * length(c.terms) / {USUAL_SIGNS} + {1 / K1}) DESC, c.id LIMIT %s
    """  # noqa: S608 - constants
    values: list[Any] = []
    for (term, _), weight in zip(counted, _weights(counted), strict=True):
        values += [weight, _match(place.user, term)]
    return _keys(sql, [*values, stored(DocumentVersion, "id", place.user.pk), *place.values, limit])


# ---------------------------------------------------------------- vectors
def vector_hits(place: Place, embedder: Embedder, vector: "NDArray[np.float32]", *, limit: int) -> list[Key]:
    """The chunks whose vectors are nearest to `vector`, nearest first."""
    if has_vector_column():
        return _nearest_by_pgvector(place, embedder, vector, limit)
    return _nearest_by_numpy(place, embedder, vector, limit)


@cache
def has_vector_column() -> bool:
    """Whether the vectors of this database are of pgvector's type. Once migrated, it stays so."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT atttypid::regtype::text FROM pg_attribute"
            " WHERE attrelid = 'knowledge_embedding'::regclass AND attname = 'vectors'"
        )
        (name,) = cursor.fetchone()
    return str(name).rpartition(".")[2] == "vector"


@cache
def _searched_type(dimensions: int) -> str | None:
    return searched_type(connection, dimensions)


def as_vector(vector: "NDArray[np.float32]") -> str:
    """As pgvector reads it."""
    return f"[{','.join(f'{number:.6g}' for number in vector.tolist())}]"


def _nearest_by_pgvector(place: Place, embedder: Embedder, vector: "NDArray[np.float32]", limit: int) -> list[Key]:
    owner, near = stored(DocumentVersion, "id", place.user.pk), as_vector(vector)
    cast = _searched_type(len(vector))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CHUNKS_IN_PLACE.format(place.where), [owner, *place.values])
        (count,) = cursor.fetchone()
        if count <= EXACT_MAX or cast is None:
            sql = f"""
                WITH inside AS MATERIALIZED (
                    SELECT e.version_id, e.first, e.vectors FROM knowledge_document d
                    JOIN knowledge_embedding e ON e.version_id = d.current_id AND e.embedder_id = %s
                    WHERE d.user_id = %s AND d.deleted_at IS NULL AND e.dimensions = {len(vector)} AND {place.where}
                ) SELECT version_id, first FROM inside ORDER BY vectors <=> %s::vector LIMIT %s
            """  # noqa: S608 - constants
            return _keys(sql, [embedder.pk, owner, *place.values, near, limit])
        if _goes_on():
            cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        cursor.execute(f"SET LOCAL hnsw.ef_search = {2 * limit}")
        # Sorted once more: a relaxed order is nearly one.
        sql = f"""
            WITH near AS MATERIALIZED (
                SELECT e.version_id, e.first, e.vectors::{cast} <=> %s::{cast} AS distance
                FROM knowledge_embedding e {_CURRENT.format("e")}
                WHERE e.dimensions = {len(vector)} AND e.embedder_id = %s AND e.user_id = %s AND {place.where}
                ORDER BY distance LIMIT %s
            ) SELECT version_id, first FROM near ORDER BY distance
        """  # noqa: S608 - constants
        return _keys(sql, [near, owner, embedder.pk, owner, *place.values, limit])


@cache
def _goes_on() -> bool:
    """Whether HNSW looks on where what it found first is another's, or elsewhere; pgvector before 0.8 does not."""
    return version_of_pgvector(connection) >= (0, 8)


def _nearest_by_numpy(place: Place, embedder: Embedder, vector: "NDArray[np.float32]", limit: int) -> list[Key]:
    import numpy as np  # noqa: PLC0415 - see `embedders`

    from chats.knowledge.packed import similarities  # noqa: PLC0415

    owner = stored(DocumentVersion, "id", place.user.pk)
    sql = f"""
        SELECT e.version_id, e.first, e.count, e.vectors FROM knowledge_embedding e {_CURRENT.format("e")}
        WHERE e.embedder_id = %s AND e.user_id = %s AND e.dimensions = %s AND {place.where}
    """  # noqa: S608 - constants
    best: list[tuple[float, Any, int]] = []
    with connection.cursor() as cursor:
        cursor.execute(sql, [owner, embedder.pk, owner, len(vector), *place.values])
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            near = similarities([bytes(vectors) for *_, vectors in rows], vector)
            top = np.argpartition(near, -limit)[-limit:] if len(near) > limit else np.arange(len(near))
            ends = np.cumsum([count for _, _, count, _ in rows])
            for at in top.tolist():
                row = int(np.searchsorted(ends, at, side="right"))
                version, first, count, _ = rows[row]
                best.append((float(near[at]), version, first + at - (int(ends[row]) - count)))
            best = sorted(best, key=lambda hit: -hit[0])[:limit]
    return [(_uuid(version), index) for _, version, index in best]


# ---------------------------------------------------------------- both
def _keys(sql: str, values: Sequence[Any]) -> list[Key]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [(_uuid(version), index) for version, index in cursor.fetchall()]


def _uuid(value: Any) -> UUID:
    found: UUID = DocumentVersion._meta.pk.to_python(value)
    return found
