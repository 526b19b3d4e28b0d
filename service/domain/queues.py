"""Names of the Celery queues and of the queue for commitment requests."""

from typing import Final

INFER: Final = "infer"


DELIVER: Final = "deliver"


COMMITMENTS: Final = "@commitments"
"""The lane of `deliver` for senders that are told what we commit ourselves to; no destination's."""
