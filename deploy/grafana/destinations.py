"""The dashboard of the destinations: who is reached, what they answer, what they lack."""

from typing import Final

from panels import GREEN, ORANGE, Dashboard, Query, Row, label_variable, stat, time_series

_OF: Final = 'job=~"$job", destination=~"$destination"'

_NOW: Final = Row(
    title="Now",
    panels=[
        stat(
            "Out of reach",
            "1 where the breaker of a destination is not closed.",
            Query(
                f'max by (destination) (lobar_breaker_open{{{_OF}, stage="deliver"}})',
                "{{destination}}",
            ),
            steps=((None, GREEN), (1, ORANGE)),
            width=12,
        ),
        stat(
            "Oldest undelivered output",
            "How long it has waited.",
            Query(
                f'max by (destination) (lobar_oldest_due_seconds{{{_OF}, stage="deliver"}})',
                "{{destination}}",
            ),
            unit="s",
            steps=((None, GREEN), (3600, ORANGE)),
            width=12,
        ),
    ],
)
_ANSWERS: Final = Row(
    title="What they answer",
    panels=[
        time_series(
            "Attempts",
            "Attempts a minute to send one output, by outcome.",
            Query(
                "60 * sum by (destination, outcome) (rate("
                f"lobar_delivery_attempts_total{{{_OF}}}[$__rate_interval]))",
                "{{destination}}: {{outcome}}",
            ),
        ),
        time_series(
            "Statuses",
            "DIMSE statuses within the last hour, in hexadecimal.",
            Query(
                "sum by (destination, status) (increase("
                f"lobar_delivery_statuses_total{{{_OF}}}[1h]))",
                "{{destination}}: {{status}}",
            ),
        ),
        time_series(
            "Deliveries that are not done",
            "In the ledger: pending, stored (commitment is awaited) and parked.",
            Query(
                "max by (destination, state) "
                f'(lobar_deliveries{{{_OF}, state=~"pending|stored|parked"}})',
                "{{destination}}: {{state}}",
            ),
        ),
        time_series(
            "Delivered",
            "Outputs in the ledger that each destination has.",
            Query(
                f'max by (destination) (lobar_deliveries{{{_OF}, state="delivered"}})',
                "{{destination}}",
            ),
        ),
        time_series(
            "Oldest due output",
            "Age of the oldest pending delivery.",
            Query(
                f'max by (destination) (lobar_oldest_due_seconds{{{_OF}, stage="deliver"}})',
                "{{destination}}",
            ),
            unit="s",
        ),
        time_series(
            "Oldest awaited commitment",
            "Age of the oldest commitment that a destination has not given.",
            Query(
                f'max by (destination) (lobar_oldest_due_seconds{{{_OF}, stage="commit"}})',
                "{{destination}}",
            ),
            unit="s",
        ),
    ],
)
_COMMITMENT: Final = Row(
    title="Storage commitment",
    panels=[
        time_series(
            "Requested from destinations",
            "Requests within the last hour, by outcome.",
            Query(
                "sum by (destination, outcome) (increase("
                f"lobar_commitments_asked_total{{{_OF}}}[1h]))",
                "{{destination}}: {{outcome}}",
            ),
        ),
        time_series(
            "Results of destinations",
            "Outputs with a result within the last hour.",
            Query(
                f"sum by (destination, outcome) (increase(lobar_commitments_total{{{_OF}}}[1h]))",
                "{{destination}}: {{outcome}}",
            ),
        ),
        time_series(
            "Requested by senders",
            "Requests that senders made within the last hour.",
            Query(
                'sum by (outcome) (increase(lobar_commitment_requests_total{job=~"$job"}[1h]))',
                "{{outcome}}",
            ),
        ),
        time_series(
            "Results for senders",
            "Reports of a result within the last hour.",
            Query(
                'sum by (outcome) (increase(lobar_commitment_results_total{job=~"$job"}[1h]))',
                "{{outcome}}",
            ),
        ),
    ],
)

DESTINATIONS: Final = Dashboard(
    name="destinations",
    title="Lobar: destinations",
    description="Which destinations are reached, what they answer and what they lack.",
    rows=[_NOW, _ANSWERS, _COMMITMENT],
    variables=[
        label_variable(
            "destination",
            "Destination",
            'label_values(lobar_breaker_open{job=~"$job", stage="deliver"}, destination)',
        )
    ],
)
