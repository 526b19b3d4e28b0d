"""How long a client may take, and how many connections there may be."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.settings import WebSettings

MOST_OF_HEALTH: Final = 64  # connections of the address of health and metrics


class Ended(StrEnum):
    """Why the server ended a connection by itself, as the metrics have it."""

    SLOW_HEAD = "slow-head"
    SLOW_BODY = "slow-body"
    UNREAD = "unread"
    MADE_ROOM = "made-room"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one server; seconds are those that its client is waited for."""

    connections: int
    slow: int  # bodies that are received, and likewise responses that wait to be read
    head_seconds: float
    body_seconds: float
    least_bytes_per_second: int  # of a body, and of what a client reads
    grace_seconds: float = 10.0  # before a rate is asked for
    unread_seconds: float = 30.0  # over which the rate of what a client reads is taken


def limits_of_pages(web: WebSettings) -> Limits:
    """Return the limits of the pages' address."""
    return Limits(
        connections=web.maximum_connections,
        slow=max(1, web.maximum_connections // 10),
        head_seconds=web.head_seconds,
        body_seconds=web.body_seconds,
        least_bytes_per_second=web.least_bytes_per_second,
    )


def limits_of_health(web: WebSettings) -> Limits:
    """Return the limits of the address of health and metrics, whose requests have no body."""
    return Limits(
        connections=MOST_OF_HEALTH,
        slow=8,
        head_seconds=web.head_seconds,
        body_seconds=web.head_seconds,
        least_bytes_per_second=web.least_bytes_per_second,
    )
