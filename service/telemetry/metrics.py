"""The metrics that processes count; `docs/metrics.md` describes each.

States, balance and ages are not counted here: `service.telemetry.ledger_collector` reads them from
the ledger on each scrape. Labels take values from closed sets only: coded reasons, names
from the settings, states, and statuses through `status_label`.
"""

import itertools
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, values

from service.domain.audit import Action, AuditOutcome
from service.domain.reasons import NOT_ANALYSED as NOT_ANALYSED_REASONS
from service.domain.reasons import PARKING, REJECTING
from service.domain.routing import Outcome
from service.storage.faults import Fault
from service.telemetry.metrics_directory import metrics_dir, process_identity
from service.telemetry.metrics_files import allocate_before_counting

disable_created_metrics()  # type: ignore[no-untyped-call]
if metrics_dir() is not None:
    allocate_before_counting()
    # name files by `process_identity`, not by process number
    values.ValueClass = values.MultiProcessValue(process_identity)  # type: ignore[no-untyped-call]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SECONDS_TO_DAYS: Final = (
    *(0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300, 900),
    *(3600, 6 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600),
)

# Receiving

INSTANCES_RECEIVED: Final = Counter(
    "lobar_instances_received_total",
    "Instances received and acknowledged for the first time, by source.",
    ["source"],
)
INSTANCES_REPEATED: Final = Counter(
    "lobar_instances_repeated_total",
    "Instances acknowledged that had been received before with the same bytes.",
)
INSTANCES_REJECTED: Final = Counter(
    "lobar_instances_rejected_total",
    "Instances rejected on receipt, of which nothing is kept, by coded reason.",
    ["reason"],
)
RECEIVED_BYTES: Final = Counter(
    "lobar_received_bytes_total",
    "Bytes of the data sets of instances acknowledged for the first time.",
)
RECEIVE_SECONDS: Final = Histogram(
    "lobar_receive_seconds",
    "Seconds from an instance's last byte to its acknowledgement, fsync and commit included.",
    buckets=_SECONDS,
)
ASSOCIATIONS: Final = Counter(
    "lobar_associations_total",
    "DICOM associations by how they ended: released, aborted or rejected.",
    ["outcome"],
)
ASSOCIATION_REFUSALS: Final = Counter(
    "lobar_association_refusals_total",
    "Associations that the listener rejected or aborted, by reason.",
    ["reason"],
)
ASSOCIATIONS_OPEN: Final = Gauge(
    "lobar_associations_open",
    "DICOM associations open now.",
    multiprocess_mode="livesum",
)
CONNECTIONS_WAITING: Final = Gauge(
    "lobar_connections_waiting",
    "Connections to the listener that have not requested an association yet.",
    multiprocess_mode="livesum",
)
TLS_CERTIFICATE_NOT_AFTER: Final = Gauge(
    "lobar_tls_certificate_not_after_seconds",
    "When our certificate for DICOM over TLS expires, in seconds since 1970, by role and peer.",
    ["role", "peer"],
    multiprocess_mode="livemin",
)
UPLOADS: Final = Counter(
    "lobar_uploads_total",
    "Files uploaded to the web server, by outcome: received, repeated or rejected.",
    ["outcome"],
)

# Inference

STAGE_SECONDS: Final = Histogram(
    "lobar_stage_seconds",
    "Seconds of work on one instance (decode, report, deliver) or one batch (predict).",
    ["stage"],
    buckets=_SECONDS,
)
END_TO_END_SECONDS: Final = Histogram(
    "lobar_end_to_end_seconds",
    "Seconds from receipt to the report (reported) or to its last delivery (delivered).",
    ["until"],
    buckets=_SECONDS_TO_DAYS,
)
BATCH_SIZE: Final = Histogram(
    "lobar_batch_instances",
    "Instances predicted together in one batch.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
DECODER_FAILURES: Final = Counter(
    "lobar_decoder_failures_total",
    "Decoding processes that were ended or ended by themselves, by coded reason.",
    ["reason"],
)
STUCK: Final = Counter(
    "lobar_parts_stuck_total",
    "Times that the work of a part made no progress for longer than its limit, by role.",
    ["role"],
)
BREAKER_OPENINGS: Final = Counter(
    "lobar_breaker_openings_total",
    "Times that the breaker of the infer workers opened, by fault.",
    ["fault"],
)
PREDICTIONS: Final = Counter(
    "lobar_predictions_total",
    "Predictions by finding: present, absent or indeterminate.",
    ["finding"],
)
PROBABILITIES: Final = Histogram(
    "lobar_prediction_probability",
    "Probabilities of pneumonia of the instances that were reported.",
    buckets=tuple(twentieth / 20 for twentieth in range(1, 21)),
)
OTHER_ABNORMALITIES: Final = Counter(
    "lobar_other_abnormality_findings_total",
    "Readings of another abnormality by finding: present, absent or indeterminate.",
    ["finding"],
)
NOT_ANALYSED: Final = Counter(
    "lobar_not_analysed_total",
    "Jobs that ended not analysed, by coded reason.",
    ["reason"],
)
POPULATIONS: Final = Counter(
    "lobar_populations_total",
    "Instances whose population the bundle named, by that name and outcome.",
    ["population", "outcome"],
)
PARKED: Final = Counter(
    "lobar_parkings_total",
    "Times that a job or delivery was parked, by coded reason.",
    ["reason"],
)
MODEL_INFO: Final = Gauge(
    "lobar_model_info",
    "The loaded model, in labels; weights_sha256 has the first 16 digits. Always 1.",
    ["name", "version", "weights_sha256", "operating_point", "device"],
    multiprocess_mode="livemax",
)

# Parts

PART_STARTS: Final = Counter(
    "lobar_part_starts_total",
    "Times that a process of a part began its work, by role.",
    ["role"],
)
PART_CPU_SECONDS: Final = Counter(
    "lobar_part_cpu_seconds_total",
    "Processor time that the processes of a part took, decoders left out, by role.",
    ["role"],
)
PART_MEMORY: Final = Gauge(
    "lobar_part_memory_bytes",
    "Memory that the processes of a part hold, decoders left out, by role.",
    ["role"],
    multiprocess_mode="livesum",
)
PART_OPEN_FILES: Final = Gauge(
    "lobar_part_open_files",
    "Files, sockets and pipes that the processes of a part have open, by role.",
    ["role"],
    multiprocess_mode="livesum",
)

# Delivery

DELIVERY_OUTCOMES: Final = ("success", "warning", "refused", "unreachable")
DELIVERIES: Final = Counter(
    "lobar_delivery_attempts_total",
    "Attempts to send one report, by outcome: success, warning, refused or unreachable.",
    ["destination", "outcome"],
)
DELIVERY_STATUS: Final = Counter(
    "lobar_delivery_statuses_total",
    "DIMSE statuses that destinations returned, in hexadecimal (PS3.4 table B.2-1, PS3.7 annex C).",
    ["destination", "status"],
)

# Storage commitment

COMMITMENTS_ASKED: Final = Counter(
    "lobar_commitments_asked_total",
    "Commitment requests sent to a destination, by outcome: accepted, refused or unreachable.",
    ["destination", "outcome"],
)
COMMITMENTS: Final = Counter(
    "lobar_commitments_total",
    "Outputs with a commitment result from their destination, by outcome: committed or failed.",
    ["destination", "outcome"],
)
COMMITMENT_REQUESTS: Final = Counter(
    "lobar_commitment_requests_total",
    "Commitment requests received from senders, by outcome: accepted or rejected.",
    ["outcome"],
)
COMMITMENT_RESULTS: Final = Counter(
    "lobar_commitment_results_total",
    "Reports of a commitment result to its sender, by outcome: told, refused, unreachable or "
    "given-up.",
    ["outcome"],
)
COMMITTED_INSTANCES: Final = Counter(
    "lobar_committed_instances_total",
    "Instances in the commitment results reported to senders, by outcome: committed or failed.",
    ["outcome"],
)

# Dispatch and leases

NOTIFICATIONS: Final = Counter(
    "lobar_rings_total",
    "Notifications sent to a queue's workers, on receipt and by the relay.",
    ["queue"],
)
NOTIFICATIONS_FAILED: Final = Counter(
    "lobar_rings_failed_total",
    "Notifications that Redis did not accept; the relay sends them again for due work.",
    ["queue"],
)
STALE_LEASES: Final = Counter(
    "lobar_stale_leases_total",
    "Writes discarded because their lease was no longer current.",
)

# Web server

WEB_CONNECTIONS_ENDED: Final = Counter(
    "lobar_web_connections_ended_total",
    "Connections that the web server ended by itself, by reason: a slow client, or no room.",
    ["reason"],
)
WEB_REQUESTS_REFUSED: Final = Counter(
    "lobar_web_requests_refused_total",
    "Requests that were refused because too many were being answered, of all or of one address.",
    ["reason"],
)

# Audit trail

AUDIT_RECORDS: Final = Counter(
    "lobar_audit_records_total",
    "Records that the web server appended to the audit trail, by action and outcome.",
    ["action", "outcome"],
)
CLOCK_JUMPS: Final = Counter(
    "lobar_clock_jumps_total",
    "Times that the wall clock of a machine was set by two seconds or more.",
)
AUDIT_EXPORT_FAILURES: Final = Counter(
    "lobar_audit_export_failures_total",
    "Times that the syslog server did not take audit messages, by fault.",
    ["fault"],
)
TRACE_SPANS: Final = Counter(
    "lobar_trace_spans_total",
    "Spans of OpenTelemetry traces by outcome: exported, refused by the collector, or dropped.",
    ["outcome"],
)

# People

VERDICTS: Final = Counter(
    "lobar_verdicts_total",
    "Verdicts of radiologists by opinion (agree, disagree or unsure) and finding of the report.",
    ["opinion", "finding"],
)
# Shadow model

SHADOW_READINGS: Final = Counter(
    "lobar_shadow_readings_total",
    "Instances that the shadow model read, by the outcome that was reported and by its own.",
    ["reported", "shadow"],
)
SHADOW_FAILURES: Final = Counter(
    "lobar_shadow_failures_total",
    "Instances that the shadow model did not read, by why.",
    ["failure"],
)
SHADOW_INFO: Final = Gauge(
    "lobar_shadow_info",
    "The loaded shadow model, in labels; weights_sha256 has the first 16 digits. Always 1.",
    ["name", "version", "weights_sha256", "operating_point", "device"],
    multiprocess_mode="livemax",
)
_ROLES: Final = ("infer", "listener", "deliver", "relay", "web")
_KNOWN_FROM_THE_START: Final = {
    AUDIT_EXPORT_FAILURES: ("unreachable", "certificate", "broken", "no-answer"),
    INSTANCES_RECEIVED: ("dicom", "upload"),
    ASSOCIATIONS: ("released", "aborted", "rejected"),
    ASSOCIATION_REFUSALS: (
        *("calling-ae-title-not-recognised", "called-ae-title-not-recognised"),
        *("calling-ae-title-blank", "called-ae-title-blank", "protocol-version-not-supported"),
        *("sender-address-not-recognised", "sender-certificate-not-recognised"),
        *("tls-not-spoken", "tls-version-not-supported", "tls-certificate-missing"),
        *("tls-certificate-not-trusted", "tls-handshake-timeout", "tls-handshake-failed"),
        *("local-limit-exceeded", "connection-limit-exceeded", "other"),
        *("ae-title-limit-exceeded", "address-limit-exceeded", "no-request-in-time"),
        *("silent-in-message", "message-too-slow", "message-time-exceeded", "response-not-read"),
        *("malformed-association-pdu", "undecodable-pdu", "protocol-error"),
    ),
    INSTANCES_REJECTED: REJECTING,
    NOT_ANALYSED: NOT_ANALYSED_REASONS,
    PARKED: PARKING,
    PART_STARTS: _ROLES,
    PART_CPU_SECONDS: _ROLES,
    UPLOADS: ("received", "repeated", "rejected"),
    TRACE_SPANS: ("exported", "refused", "dropped"),
    STAGE_SECONDS: ("decode", "predict", "report", "deliver"),
    END_TO_END_SECONDS: ("reported", "delivered"),
    PREDICTIONS: ("present", "absent", "indeterminate"),
    OTHER_ABNORMALITIES: ("present", "absent", "indeterminate"),
    DECODER_FAILURES: ("decoder-crashed", "decoder-timeout", "decoder-out-of-memory"),
    BREAKER_OPENINGS: tuple(Fault),
    STUCK: (*_ROLES, "shadow"),
    SHADOW_FAILURES: ("attempts-exhausted", "bytes-gone", "same-model"),
    WEB_CONNECTIONS_ENDED: ("slow-head", "slow-body", "unread", "made-room", "refused"),
    WEB_REQUESTS_REFUSED: ("too-many", "too-many-of-one"),
    COMMITMENT_REQUESTS: ("accepted", "rejected"),
    COMMITMENT_RESULTS: ("told", "refused", "unreachable", "given-up"),
    COMMITTED_INSTANCES: ("committed", "failed"),
    NOTIFICATIONS: ("infer", "deliver"),
    NOTIFICATIONS_FAILED: ("infer", "deliver"),
}
for _metric, _values in _KNOWN_FROM_THE_START.items():
    for (
        _value
    ) in _values:  # increase() misses the first count of a series that did not exist before
        _metric.labels(_value)
for _opinion in ("agree", "disagree", "unsure"):
    for _finding in ("present", "absent", "indeterminate"):
        VERDICTS.labels(_opinion, _finding)

for _reported, _shadow in itertools.product(Outcome, Outcome):
    SHADOW_READINGS.labels(reported=_reported, shadow=_shadow)

for _action, _outcome in itertools.product(Action, AuditOutcome):
    AUDIT_RECORDS.labels(action=_action, outcome=_outcome)

_EXACT_STATUSES: Final = frozenset(
    {
        *(0x0000, 0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xFE00),
        *(0x0105, 0x0106, 0x0110, 0x0111, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119),
        *(0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0210, 0x0211, 0x0212, 0x0213),
    }
)  # PS3.7 annex C; PS3.4 table B.2-1


def status_label(status: int) -> str:
    """Map a DIMSE status to one of a few dozen label values.

    The ranges that PS3.4 table B.2-1 leaves to the implementation count as one (0xA7FF as
    `A700`, 0xC123 as `C000`); a status in no table is `other`.
    """
    if status in _EXACT_STATUSES:
        return f"{status:04X}"
    if status & 0xFF00 in {0xA700, 0xA900}:
        return f"{status & 0xFF00:04X}"
    if 0xC000 <= status <= 0xCFFF:  # noqa: PLR2004 -- the range "Cxxx" of the table
        return "C000"
    return "other"
