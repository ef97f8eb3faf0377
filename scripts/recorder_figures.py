"""What stands in a recorder's database: rows by kind and hour, bytes by table, and whether totals ever fell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
import sqlite3

_ROWS = """
    SELECT m.entity_id, CAST((s.last_updated_ts - ?) / 3600 AS INTEGER), COUNT(*)
    FROM states s JOIN states_meta m USING (metadata_id) GROUP BY 1, 2
"""
# Tables with their indexes; sqlite's own belong to nobody
_BYTES = """
    SELECT COALESCE(o.tbl_name, 'sqlite'), SUM(d.pgsize)
    FROM dbstat d LEFT JOIN sqlite_master o ON o.name = d.name GROUP BY 1
"""
_HISTORY = """
    SELECT s.state FROM states s JOIN states_meta m USING (metadata_id)
    WHERE m.entity_id = ? ORDER BY s.last_updated_ts, s.state_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is at one moment: bytes by table, its indexes included, and rows by table."""

    bytes: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, database: Path) -> Size:
        """Measure a database, also one that is in use: what was committed counts."""
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            sizes = dict(connection.execute(_BYTES))
            tables = [name for name in sizes if not name.startswith("sqlite")]
            rows = {
                name: connection.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - of sqlite itself
                for name in tables
            }
        connection.close()
        return cls(bytes=sizes, rows=rows)

    def since(self, before: Size) -> Size:
        """What came to it."""
        return Size(
            bytes={name: size - before.bytes.get(name, 0) for name, size in self.bytes.items()},
            rows={name: count - before.rows.get(name, 0) for name, count in self.rows.items()},
        )

    def plus(self, more: Size) -> Size:
        """Both together."""
        return Size(bytes=Counter(self.bytes) + Counter(more.bytes), rows=Counter(self.rows) + Counter(more.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """State rows of one kind."""

    entities: int
    by_hour: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """In all hours."""
        return self.by_hour.total()

    @property
    def busiest(self) -> int:
        """In the hour that had most."""
        return max(self.by_hour.values(), default=0)


def state_rows(database: Path, kinds: Mapping[str, str], midnight: float, hours: Sequence[int]) -> dict[str, Rows]:
    """State rows of every kind of entity in some hours of the day from `midnight` (Unix, s) on.

    Those of entities of nobody we know are "others".
    """
    counted = Counter(kinds.values())
    found = {kind: Rows(entities=count) for kind, count in counted.items()}
    found["others"] = Rows(entities=0)
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        for entity_id, hour, count in connection.execute(_ROWS, (midnight,)):
            if hour in hours:
                found[kinds.get(entity_id, "others")].by_hour[hour] += count
    connection.close()
    return found


def falls(database: Path, entity_id: str) -> int:
    """How often a total was recorded below what it had been before."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        states = [state for (state,) in connection.execute(_HISTORY, (entity_id,))]
    connection.close()
    values = []
    for state in states:
        try:
            values.append(float(state))
        except ValueError:
            continue  # unknown or unavailable
    return sum(later < earlier for earlier, later in pairwise(values))
