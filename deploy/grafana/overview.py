"""The dashboard to look at first: is anything wrong, is anything late, what flows."""

from typing import Final

from panels import GREEN, ORANGE, RED, Dashboard, Query, Row, stat, table, time_series

_WRONG: Final = Row(
    title="Is anything wrong?",
    panels=[
        stat(
            "Parts that are not ready",
            "Of the parts that the service needs, those without a process that is ready.",
            Query('count(max by (job, role) (lobar_process_ready{job=~"$job"}) == 0) or vector(0)'),
            steps=((None, GREEN), (1, RED)),
        ),
        stat(
            "Alerts that fire",
            "Each has a section in docs/operations.md.",
            Query('count(ALERTS{alertname=~"Lobar.*", alertstate="firing"}) or vector(0)'),
            steps=((None, GREEN), (1, RED)),
        ),
        stat(
            "Balance",
            "Received less all that is accounted for. Any other number than 0 is an error.",
            Query('max(lobar_balance{job=~"$job"})'),
            steps=((None, RED), (0, GREEN), (1, RED)),
        ),
        stat(
            "Parked",
            "Jobs that wait for a person.",
            Query('max(lobar_jobs{job=~"$job", state="parked"})'),
            steps=((None, GREEN), (1, ORANGE), (100, RED)),
        ),
        stat(
            "Destinations out of reach",
            "Destinations whose breaker is not closed.",
            Query(
                'sum(max by (job, destination) (lobar_breaker_open{job=~"$job", stage="deliver"}))'
            ),
            steps=((None, GREEN), (1, ORANGE)),
        ),
        stat(
            "Room for instances",
            "Bytes that can still be written to the spool above its reserve.",
            Query('min(lobar_spool_free_bytes{job=~"$job"})'),
            unit="bytes",
            steps=((None, RED), (1 << 30, ORANGE), (10 << 30, GREEN)),
        ),
    ],
)
_LATE: Final = Row(
    title="Is anything late?",
    panels=[
        time_series(
            "Oldest due work",
            "Age of the oldest due job, delivery, awaited commitment or unreported result.",
            Query(
                'max by (stage, destination) (lobar_oldest_due_seconds{job=~"$job"})',
                "{{stage}} {{destination}}",
            ),
            unit="s",
        ),
        time_series(
            "From receipt to the report, and to the last delivery",
            "Median and 95th percentile.",
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le, until) (rate("
                    'lobar_end_to_end_seconds_bucket{job=~"$job"}[$__rate_interval])))',
                    f"{{{{until}}}}, {words}",
                )
                for quantile, words in ((0.5, "median"), (0.95, "95 %"))
            ),
            unit="s",
        ),
    ],
)
_FLOW: Final = Row(
    title="What flows",
    panels=[
        time_series(
            "Instances received",
            "Instances a minute that were received for the first time.",
            Query(
                "60 * sum by (source) (rate("
                'lobar_instances_received_total{job=~"$job"}[$__rate_interval]))',
                "{{source}}",
            ),
            stacked=True,
        ),
        time_series(
            "Outcomes",
            "Instances a minute by finding, or not analysed.",
            Query(
                "60 * sum by (finding) (rate("
                'lobar_predictions_total{job=~"$job"}[$__rate_interval]))',
                "{{finding}}",
            ),
            Query(
                '60 * sum(rate(lobar_not_analysed_total{job=~"$job"}[$__rate_interval]))',
                "not analysed",
            ),
            stacked=True,
        ),
        time_series(
            "Jobs in flight",
            "Jobs that are neither finished nor parked.",
            Query('max by (job) (lobar_jobs_in_flight{job=~"$job"})', "{{job}}"),
        ),
        time_series(
            "Parked, by reason",
            "Jobs that wait for a person; a reason without any is not listed.",
            Query('max by (reason) (lobar_parked{job=~"$job"})', "{{reason}}"),
            stacked=True,
        ),
        table(
            "Jobs by state",
            "What the ledger holds now.",
            'max by (job, state) (lobar_jobs{job=~"$job"})',
        ),
        table(
            "Version",
            "The version that each machine runs.",
            'max by (job, instance, version) (lobar_build_info{job=~"$job"})',
        ),
    ],
)

OVERVIEW: Final = Dashboard(
    name="overview",
    title="Lobar: overview",
    description="Whether anything is wrong, late or parked, and what flows.",
    rows=[_WRONG, _LATE, _FLOW],
)
