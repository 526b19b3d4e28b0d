"""The dashboard of what the service uses, and of what presses on it."""

from typing import Final

from panels import Dashboard, Query, Row, time_series

_PARTS: Final = Row(
    title="Parts",
    panels=[
        time_series(
            "Processor",
            "Cores that each part takes, decoders left out.",
            Query(
                'sum by (role) (rate(lobar_part_cpu_seconds_total{job=~"$job"}[$__rate_interval]))',
                "{{role}}",
            ),
            stacked=True,
        ),
        time_series(
            "Memory",
            "What the processes of each part hold, decoders left out.",
            Query('sum by (role) (lobar_part_memory_bytes{job=~"$job"})', "{{role}}"),
            unit="bytes",
            stacked=True,
        ),
        time_series(
            "Open files",
            "Files, sockets and pipes.",
            Query('sum by (role) (lobar_part_open_files{job=~"$job"})', "{{role}}"),
        ),
        time_series(
            "Starts",
            "Starts of processes within the last hour.",
            Query('sum by (role) (increase(lobar_part_starts_total{job=~"$job"}[1h]))', "{{role}}"),
        ),
        time_series(
            "Stuck",
            "Times within the last hour that the work of a part made no progress.",
            Query('sum by (role) (increase(lobar_parts_stuck_total{job=~"$job"}[1h]))', "{{role}}"),
        ),
        time_series(
            "Ready",
            "Processes that are ready.",
            Query('max by (role) (lobar_process_ready{job=~"$job"})', "{{role}}"),
        ),
    ],
)
_STORES: Final = Row(
    title="Stores",
    panels=[
        time_series(
            "Room in the spool",
            "Bytes above the reserve.",
            Query('min by (instance) (lobar_spool_free_bytes{job=~"$job"})', "{{instance}}"),
            unit="bytes",
        ),
        time_series(
            "Bytes received",
            "In a second.",
            Query('sum(rate(lobar_received_bytes_total{job=~"$job"}[$__rate_interval]))', "bytes"),
            unit="Bps",
        ),
        time_series(
            "Ledger and Redis",
            "1 where they answer.",
            Query('min by (instance) (lobar_ledger_up{job=~"$job"})', "{{instance}}: ledger"),
            Query('min by (instance) (lobar_redis_up{job=~"$job"})', "{{instance}}: Redis"),
        ),
        time_series(
            "Audit records to export",
            "Records that the syslog server has not taken.",
            Query('max by (job) (lobar_audit_export_pending{job=~"$job"})', "{{job}}"),
        ),
    ],
)
_NETWORK: Final = Row(
    title="Network",
    panels=[
        time_series(
            "Associations",
            "Open now, and connections that have not requested one.",
            Query('sum(lobar_associations_open{job=~"$job"})', "associations"),
            Query('sum(lobar_connections_waiting{job=~"$job"})', "connections that wait"),
        ),
        time_series(
            "Ends of associations",
            "In a minute, by outcome.",
            Query(
                "60 * sum by (outcome) (rate("
                'lobar_associations_total{job=~"$job"}[$__rate_interval]))',
                "{{outcome}}",
            ),
        ),
        time_series(
            "Refused associations",
            "Within the last hour, by reason.",
            Query(
                'sum by (reason) (increase(lobar_association_refusals_total{job=~"$job"}[1h]))',
                "{{reason}}",
            ),
        ),
        time_series(
            "Pages",
            "Connections that the web server ended and requests that it refused, in the last hour.",
            Query(
                'sum by (reason) (increase(lobar_web_connections_ended_total{job=~"$job"}[1h]))',
                "ended: {{reason}}",
            ),
            Query(
                'sum by (reason) (increase(lobar_web_requests_refused_total{job=~"$job"}[1h]))',
                "refused: {{reason}}",
            ),
        ),
    ],
)
_CLOCKS: Final = Row(
    title="Clocks and certificates",
    panels=[
        time_series(
            "Wall clock less scheduling time",
            "How far the wall clock is from the time by which the ledger decides.",
            Query('max by (instance) (lobar_clock_offset_seconds{job=~"$job"})', "{{instance}}"),
            unit="s",
        ),
        time_series(
            "Certificates end in",
            "Our certificates for DICOM over TLS; empty without TLS.",
            Query(
                "min by (role, peer) (lobar_tls_certificate_not_after_seconds"
                '{job=~"$job"}) - time()',
                "{{role}} {{peer}}",
            ),
            unit="s",
        ),
        time_series(
            "Scrapes",
            "How long Prometheus waits for the metrics.",
            Query('max by (instance) (scrape_duration_seconds{job=~"$job"})', "{{instance}}"),
            unit="s",
        ),
    ],
)

RESOURCES: Final = Dashboard(
    name="resources",
    title="Lobar: resources",
    description="What the parts use of their machines, and what presses on them.",
    rows=[_PARTS, _STORES, _NETWORK, _CLOCKS],
)
