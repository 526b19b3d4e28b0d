"""Names of the Celery queues, and of the destination queue for senders' commitment requests."""

from typing import Final

INFER: Final = "infer"
DELIVER: Final = "deliver"

COMMITMENTS: Final = "@commitments"
"""Argument of a `deliver` task that reports commitment results to senders; no destination."""
