"""Print how long each query of the quality page takes with many jobs, and how it is answered.

    PYTHONPATH=tests .venv/bin/python -m bench.quality [JOBS]

The bar: no query over 300 ms and no page over 1 s with 100,000 jobs, on SQLite and PostgreSQL.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from peers.postgresql import PostgreSQLServer
from sqlalchemy import Select, text
from sqlalchemy.dialects import postgresql, sqlite
from support.filled_ledger import MODELS, fill, fill_monitoring

from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database
from service.storage.ledger.reading.statistics import (
    DAY_SECONDS,
    Period,
    Selection,
    histogram_query,
    outcomes_query,
    sources_query,
    verdicts_query,
)
from service.telemetry.drift import DriftMonitor
from service.web.quality.shadow import summarise

ROUNDS: Final = 5


def main() -> None:
    """Fill a ledger on each database and print a line for each query."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        measure(f"sqlite:///{name}/ledger.sqlite3", jobs)
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user where the caller is root
        server = PostgreSQLServer(folder)
        server.start()
        try:
            measure(server.url("postgres"), jobs)
        finally:
            server.kill()


def measure(url: str, jobs: int) -> None:
    """Print the medians and the plans on one database."""
    now = time.time()
    with closing(Ledger(url)) as ledger, closing(Database(url)) as database:
        ledger.upgrade()
        fill(database, jobs=jobs, verdicts=jobs // 5, until=now)
        fill_monitoring(database)
        if not url.startswith("sqlite"):
            with database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
        print(f"{url.partition(':')[0]}, {jobs:,} jobs and {jobs // 5:,} verdicts over 180 days")
        for weeks in (12, 52):
            since = now - weeks * 7 * DAY_SECONDS
            every = Selection(since=since, until=now)
            one = Selection(since=since, until=now, model=MODELS[1], ae_title="PACS")
            for words, selection in (("all", every), ("one model and sender", one)):
                print(f" {weeks} weeks, {words}")
                _queries(ledger, database, selection, now)
        monitor = DriftMonitor(Settings(), ledger)
        year = now - 365 * DAY_SECONDS
        for words, ask in (
            ("drift of every input", lambda: monitor.measure(now)),
            ("a shadow model of half a year", lambda: summarise(ledger, year, now)),
        ):
            print(f" {words}: {_median(ask) * 1000:.1f} ms")


def _queries(ledger: Ledger, database: Database, selection: Selection, now: float) -> None:
    counts = ledger.statistics
    since = selection.since
    cases: list[tuple[str, Callable[[], object], Select[Any]]] = [
        (
            "outcomes by week",
            lambda: counts.outcomes(selection, Period.WEEK),
            outcomes_query(selection, Period.WEEK),
        ),
        (
            "outcomes by day",
            lambda: counts.outcomes(selection, Period.DAY),
            outcomes_query(selection, Period.DAY),
        ),
        ("histogram", lambda: counts.histogram(selection), histogram_query(selection)),
        ("verdicts", lambda: counts.verdicts(selection), verdicts_query(selection)),
        ("sources", lambda: counts.sources(since, now), sources_query(since, now)),
    ]
    for name, ask, query in cases:
        print(f"  {name:18} {_median(ask) * 1000:6.1f} ms   {_plan(database, query)}")


def _median(ask: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _plan(database: Database, query: Select[Any]) -> str:
    is_sqlite = database.url.get_backend_name() == "sqlite"
    dialect: Any = sqlite.dialect() if is_sqlite else postgresql.dialect()
    literal = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    with database.engine.connect() as connection:
        rows = connection.execute(text(f"{explain} {literal}".replace(":", "\\:"))).all()
    lines = [str(row[-1]).strip() for row in rows]
    return "; ".join(
        line.partition("  (")[0] for line in lines if "SCAN" in line.upper() or "SEARCH" in line
    )


if __name__ == "__main__":
    main()
