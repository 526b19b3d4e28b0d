"""The dashboard of the stages: how long each takes, and what waits for it."""

from typing import Final

from panels import Dashboard, Panel, Query, Row, heat_map, time_series


def _latency(title: str, description: str, metric: str, labels: str = "") -> Panel:
    """Build the heat map of a histogram of seconds."""
    selector = ", ".join(filter(None, ['job=~"$job"', labels]))
    return heat_map(
        title,
        description,
        f"sum by (le) (increase({metric}_bucket{{{selector}}}[$__rate_interval]))",
    )


_STAGES: Final = Row(
    title="How long each stage takes",
    panels=[
        _latency(
            "Receive",
            "From an instance's last byte to its acknowledgement, fsync and commit included.",
            "lobar_receive_seconds",
        ),
        _latency("Decode", "One instance.", "lobar_stage_seconds", 'stage="decode"'),
        _latency("Predict", "One batch.", "lobar_stage_seconds", 'stage="predict"'),
        _latency("Report", "All outputs of an instance.", "lobar_stage_seconds", 'stage="report"'),
        _latency("Deliver", "One output.", "lobar_stage_seconds", 'stage="deliver"'),
        heat_map(
            "Instances in a batch",
            "How many are predicted together: more where more waits.",
            'sum by (le) (increase(lobar_batch_instances_bucket{job=~"$job"}[$__rate_interval]))',
            unit="short",
        ),
    ],
)
_WHOLE: Final = Row(
    title="From receipt on",
    panels=[
        _latency(
            "Until reported",
            "From receipt to the report.",
            "lobar_end_to_end_seconds",
            'until="reported"',
        ),
        _latency(
            "Until delivered",
            "From receipt to the last delivery.",
            "lobar_end_to_end_seconds",
            'until="delivered"',
        ),
    ],
)
_WAITING: Final = Row(
    title="What waits",
    panels=[
        time_series(
            "Due work",
            "Due and not leased; 0 for a destination that cannot be reached.",
            Query(
                'max by (stage, destination) (lobar_due{job=~"$job"})', "{{stage}} {{destination}}"
            ),
        ),
        time_series(
            "Oldest due work",
            "Age of the oldest by stage.",
            Query('max by (stage) (lobar_oldest_due_seconds{job=~"$job"})', "{{stage}}"),
            unit="s",
        ),
        time_series(
            "Notifications in Redis",
            "Notifications that no worker has received yet.",
            Query('max by (queue) (lobar_queue_depth{job=~"$job"})', "{{queue}}"),
        ),
        time_series(
            "Notifications",
            "Sent, and not taken by Redis, in a second.",
            Query(
                'sum by (queue) (rate(lobar_rings_total{job=~"$job"}[$__rate_interval]))',
                "{{queue}}",
            ),
            Query(
                'sum by (queue) (rate(lobar_rings_failed_total{job=~"$job"}[$__rate_interval]))',
                "{{queue}}, failed",
            ),
        ),
    ],
)
_FAULTS: Final = Row(
    title="Faults",
    panels=[
        time_series(
            "Faults of the environment",
            "Openings of the breaker of the infer workers within the last hour, by fault.",
            Query(
                'sum by (fault) (increase(lobar_breaker_openings_total{job=~"$job"}[1h]))',
                "{{fault}}",
            ),
        ),
        time_series(
            "Decoders that failed",
            "Decoding processes that were ended or ended by themselves within the last hour.",
            Query(
                'sum by (reason) (increase(lobar_decoder_failures_total{job=~"$job"}[1h]))',
                "{{reason}}",
            ),
        ),
        time_series(
            "Rejected on receipt",
            "Instances rejected within the last hour, by reason.",
            Query(
                'sum by (reason) (increase(lobar_instances_rejected_total{job=~"$job"}[1h]))',
                "{{reason}}",
            ),
        ),
        time_series(
            "Leases that had ended",
            "Writes discarded within the last hour, because another worker had the lease.",
            Query('sum(increase(lobar_stale_leases_total{job=~"$job"}[1h]))', "writes"),
        ),
    ],
)

PIPELINE: Final = Dashboard(
    name="pipeline",
    title="Lobar: pipeline",
    description="How long each stage takes, what waits for it, and what failed.",
    rows=[_STAGES, _WHOLE, _WAITING, _FAULTS],
)
