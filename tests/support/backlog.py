"""A ledger with a backlog, filled by statements of the database: a million jobs in a minute."""

import uuid
from typing import Final

from sqlalchemy import text

from service.domain.job import Instance
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database

_RANDOM_HEX: Final = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "md5(random()::text)"}

# the newest are due: half of them received, half reported; of the others one in 200 is parked, and
# the bytes of most were removed by retention
_JOBS: Final = """
INSERT INTO jobs (id, sop_instance_uid, sop_class_uid, series_instance_uid, study_instance_uid,
  transfer_syntax_uid, digest, size_bytes, calling_ae_title, source, state, reason, attempt,
  attempt_base, faults, due_at, received_at, arrived_at, asked_at, reported_at, finished_at,
  kept_since, purged_at, discarded_at, finding, probability, operating_point, model)
WITH RECURSIVE number(n) AS
  (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < {jobs} - 1),
  aged AS (SELECT n, CASE WHEN n < {due} THEN 'received' WHEN n < 2 * {due} THEN 'reported'
    WHEN n - n / 200 * 200 = 7 THEN 'parked' ELSE 'delivered' END AS state,
    {now} - n * 30.0 AS at FROM number)
SELECT {hex}, '2.25.' || n, '1.2.840.10008.5.1.4.1.1.1', '2.25.1.' || n, '2.25.2.' || (n / 2),
  '1.2.840.10008.1.2.1', '{zeros}', 8000000, 'ROOM' || (n - n / 12 * 12), 'dicom', state,
  CASE WHEN state = 'parked' THEN 'report-failed' END, 1, 1, 0,
  CASE WHEN state = 'received' THEN at END, at, at, at, CASE WHEN state <> 'received' THEN at END,
  CASE WHEN state = 'delivered' THEN at + 10 END, CASE WHEN state = 'delivered' THEN at + 10 END,
  CASE WHEN state = 'delivered' AND n > 2 * {due} + {jobs} / 10 THEN at + 900 END,
  CASE WHEN state = 'delivered' AND n > 2 * {due} + {jobs} / 10 THEN at + 900 END,
  CASE WHEN state <> 'received' THEN 'absent' END, CASE WHEN state <> 'received' THEN 0.25 END,
  'screening', 'm 1' FROM aged
"""
_OTHERS: Final = (
    """INSERT INTO outputs (job_id, kind, sop_class_uid, sop_instance_uid)
SELECT id, 'sr', '1.2.840.10008.5.1.4.1.1.88.34', sop_instance_uid || '.9'
FROM jobs WHERE state <> 'received'""",
    """INSERT INTO deliveries (job_id, kind, destination, state, reason, attempt, refusals, due_at,
  since, status, finished_at)
SELECT id, 'sr', 'pacs', CASE state WHEN 'reported' THEN 'pending' ELSE state END, reason, 1, 0,
  CASE state WHEN 'reported' THEN received_at END, received_at, 0, finished_at
FROM jobs WHERE state <> 'received'""",
    """INSERT INTO deliveries (job_id, kind, destination, state, attempt, refusals, due_at, since,
  sent_sop_class_uid, sent_sop_instance_uid, finished_at)
SELECT id, 'sr', 'vault', CASE state WHEN 'reported' THEN 'stored' ELSE 'delivered' END, 1, 0,
  CASE state WHEN 'reported' THEN received_at END, received_at, '1.2.840.10008.5.1.4.1.1.88.34',
  sop_instance_uid || '.9', finished_at
FROM jobs WHERE state <> 'received'""",
    """INSERT INTO revisions (job_id, sop_class_uid, sop_instance_uid, series_instance_uid,
  dated_at)
SELECT id, '1.2.840.10008.5.1.4.1.1.88.34', sop_instance_uid || '.9', '2.25.4', received_at
FROM jobs WHERE state <> 'received'""",
    """INSERT INTO events (job_id, at, name, detail) SELECT id, received_at, name, '{}'
FROM jobs CROSS JOIN (SELECT 'received' AS name UNION ALL SELECT 'leased') AS named""",
    """INSERT INTO tally_changes (subject, state, name, number)
SELECT 'received', '', '', count(*) FROM jobs""",
)


def fill_backlog(url: str, *, jobs: int, due: int, now: float) -> None:
    """Fill a ledger with statements of the database's own, which take seconds for a million."""
    database = Database(url)
    backend = database.url.get_backend_name()
    values = {"jobs": jobs, "due": due, "now": now - 60, "zeros": "0" * 64}
    with database.write() as connection:
        for statement in (_JOBS.format(**values, hex=_RANDOM_HEX[backend]), *_OTHERS):
            connection.exec_driver_sql(statement)
    ledger = Ledger(url)
    while ledger.tallies.fold():
        pass
    ledger.close()
    _analyse(database)
    database.close()


def _analyse(database: Database) -> None:
    """Do what PostgreSQL's autovacuum does in its own time."""
    if database.url.get_backend_name() == "postgresql":
        with database.engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            # in service the relay folds each second: the table never has millions of changes
            alone.execute(text("VACUUM FULL tally_changes"))
            alone.execute(text("VACUUM ANALYZE"))


def instance(uid: str | None = None, content: str = "a") -> Instance:
    """Make an instance that the ledger does not have."""
    uid = uid or f"2.25.{uuid.uuid4().int}"
    return Instance(
        job_id=uuid.uuid4().hex,
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        series_instance_uid=f"{uid[:60]}.1",
        study_instance_uid=f"{uid[:60]}.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest=content * 64,
        size_bytes=1,
        calling_ae_title="ROOM1",
    )
