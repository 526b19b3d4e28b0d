"""Measure how far the films of the last days are from a reference, input by input.

The reference of an input is this site's own if a person accepted one, else that of the bundle if it
has one, else the films of the weeks before. What is read is bounded by a number of films, and a
measurement is kept for minutes, so that scrapes cost the ledger next to nothing.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from service.domain.monitoring.drift import FEWEST_BEFORE, Drift, drift
from service.domain.monitoring.inputs import GROUPS, DriftInput
from service.domain.monitoring.reference import (
    BadReferenceError,
    Reference,
    ReferenceKind,
    parse_reference,
)
from service.settings import Settings
from service.storage.ledger import Ledger

REFERENCE: Final = "configs/reference.json"  # of a bundle
BEFORE_DAYS: Final = 56  # the weeks before the window
MOST_FILMS: Final = 20_000  # of the window, and of the weeks before: the last ones
FRESH_SECONDS: Final = 300.0
_DAY_SECONDS: Final = 86_400
_LARGEST_FILE: Final = 1 << 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCount:
    """The films of one group: in the window, and in the reference."""

    group: str
    recent: int
    reference: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDrift:
    """The drift of one input, and what it was measured on."""

    input: DriftInput
    drift: Drift
    reference: Reference
    groups: tuple[GroupCount, ...]  # those with films


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The drift of every input in one window of time."""

    since: float  # seconds since the epoch
    until: float
    instances: int  # films of the window that the model saw
    inputs: tuple[InputDrift, ...]


class DriftMonitor:
    """Measures drift; from several threads at once."""

    def __init__(
        self, settings: Settings, ledger: Ledger, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings.drift
        self._ledger = ledger
        self._clock = clock
        self._bundle = settings.bundle.path
        self._of_bundle: Mapping[DriftInput, Reference] | None = None
        self._last: Measurement | None = None
        self._lock = threading.Lock()

    def latest(self) -> Measurement:
        """Return a measurement that is some minutes old at most.

        Raises:
            LedgerError: the ledger does not answer.
        """
        with self._lock:
            now = self._clock()
            if self._last is None or not 0 <= now - self._last.until < FRESH_SECONDS:
                self._last = self.measure(now)
            return self._last

    def measure(self, until: float) -> Measurement:
        """Measure the drift in the window that ends at a moment.

        Raises:
            LedgerError: the ledger does not answer.
        """
        since = self._beginning(until, self._settings.window_days)
        recent = self._ledger.drift.counts(since, until)
        references = self._references(since)
        return Measurement(
            since=since,
            until=until,
            instances=recent[DriftInput.REFUSAL].total(),
            inputs=tuple(
                self._of_input(each, recent[each], references[each]) for each in DriftInput
            ),
        )

    def counts(self, until: float, days: float) -> tuple[float, Mapping[DriftInput, Counter[str]]]:
        """Return since when and how the films of some days are distributed, to be a reference.

        Raises:
            LedgerError: the ledger does not answer.
        """
        since = self._beginning(until, days)
        return since, self._ledger.drift.counts(since, until)

    def _beginning(self, until: float, days: float) -> float:
        return max(until - days * _DAY_SECONDS, self._ledger.drift.beginning(until, MOST_FILMS))

    def _references(self, until: float) -> dict[DriftInput, Reference]:
        """Return the reference of each input; the films before are counted where none has one."""
        known = {**self._read_bundle(), **self._ledger.drift.accepted()}
        if missing := [each for each in DriftInput if each not in known]:
            since = self._beginning(until, BEFORE_DAYS)
            before = self._ledger.drift.counts(since, until)
            for each in missing:
                known[each] = Reference(
                    kind=ReferenceKind.BEFORE, counts=before[each], since=since, until=until
                )
        return known

    def _read_bundle(self) -> Mapping[DriftInput, Reference]:
        if self._of_bundle is None:
            try:
                self._of_bundle = read_reference(self._bundle)
            except BadReferenceError as exc:
                log.warning("drift_reference_unusable", exc_info=exc)
                self._of_bundle = {}
        return self._of_bundle

    def _of_input(self, of: DriftInput, recent: Counter[str], reference: Reference) -> InputDrift:
        groups = tuple(
            GroupCount(group=each, recent=recent[each], reference=reference.counts[each])
            for each in GROUPS[of]
            if recent[each] or reference.counts[each]
        )
        return InputDrift(
            input=of,
            drift=drift(
                [each.recent for each in groups],
                [each.reference for each in groups],
                fewest_recent=self._settings.fewest_instances,
                fewest_before=FEWEST_BEFORE,
            ),
            reference=reference,
            groups=groups,
        )


def read_reference(bundle: Path) -> Mapping[DriftInput, Reference]:
    """Read the reference of a bundle; it has none where it lacks the file.

    Raises:
        BadReferenceError: the file cannot be used; the message says why.
    """
    path = bundle / REFERENCE
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise BadReferenceError("it is larger than 1 MiB")
        return parse_reference(json.loads(content))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as exc:
        raise BadReferenceError(f"it cannot be read ({type(exc).__name__})") from exc
