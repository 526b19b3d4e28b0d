"""Drift of a site's films: a simulated change of a machine is seen, a quiet week is not."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import insert
from support.filled_ledger import job_row
from support.migrated_ledger import open_ledger

from service.domain.monitoring.inputs import EDGES, GROUPS, OF_INSTANCE, DriftInput
from service.domain.monitoring.reference import BadReferenceError, ReferenceKind
from service.settings import SHIPPED_BUNDLE, Settings
from service.storage.ledger.database import Database
from service.storage.ledger.reading.statistics import DAY_SECONDS
from service.storage.ledger.tables import DRIFT_INPUTS, JOBS
from service.storage.spool import Spool
from service.telemetry.drift import DriftMonitor, Measurement, read_reference
from service.telemetry.ledger_collector import LedgerMetrics

NOW: Final = 1_800_000_000.0
LARGE: Final = 0.25  # from which the alert fires
Weights = Mapping[str, float]

# a department as it is: two machines, mostly PA
USUAL: Final[dict[DriftInput, Weights]] = {
    DriftInput.MANUFACTURER: {"siemens": 0.7, "fuji": 0.28, "other": 0.02},
    DriftInput.VIEW: {"PA": 0.8, "AP": 0.15, "not stated": 0.05},
    DriftInput.KVP: {"70 to 80": 0.3, "110 to 120": 0.1, "120 to 130": 0.6},
    DriftInput.EXPOSURE: {"1 to 2": 0.3, "2 to 4": 0.5, "4 to 8": 0.2},
    DriftInput.SIZE: {"2048 to 2560": 0.6, "2560 to 3072": 0.4},
    DriftInput.TONE: {"0.5 to 0.525": 0.2, "0.525 to 0.55": 0.4, "0.55 to 0.575": 0.4},
}


class Site:
    """A department whose films are written straight into a ledger."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.settings = Settings(state_dir=folder, bundle={"path": bundle})
        self.ledger = open_ledger(self.settings.ledger_url, lambda: NOW)
        self._database = Database(self.settings.ledger_url)
        self._chance = random.Random(11)
        self._number = 0

    def films(
        self,
        count: int,
        *,
        until_days: float = 0,
        days: float = 7,
        changed: Mapping[DriftInput, Weights] | None = None,
        probability: Callable[[random.Random], float] = lambda chance: chance.betavariate(0.5, 2),
        refused: float = 0.02,
    ) -> None:
        """Write so many films, received evenly over `days` that end `until_days` ago."""
        end, jobs, groups = NOW - until_days * DAY_SECONDS, [], []
        for place in range(count):
            self._number += 1
            row = job_row(self._number, end - (place + 0.5) * days * DAY_SECONDS / count)
            if self._chance.random() < refused:
                nothing = {"finding": None, "probability": None, "operating_point": None}
                row |= {**nothing, "state": "not_analysed", "reason": "lateral-view"}
            else:
                row |= {"probability": probability(self._chance)}
            jobs.append(row)
            groups.append({"job_id": row["id"], **self._groups(changed or {})})
        with self._database.write() as connection:
            connection.execute(insert(JOBS), jobs)
            connection.execute(insert(DRIFT_INPUTS), groups)

    def _groups(self, changed: Mapping[DriftInput, Weights]) -> dict[str, str]:
        weights = {**USUAL, **changed}
        return {
            str(each): self._chance.choices(list(weights[each]), list(weights[each].values()))[0]
            for each in OF_INSTANCE
        }

    def monitor(self) -> DriftMonitor:
        return DriftMonitor(self.settings, self.ledger, lambda: NOW)

    def measured(self) -> Measurement:
        return self.monitor().measure(NOW)

    def indices(self) -> dict[DriftInput, float | None]:
        return {each.input: each.drift.index for each in self.measured().inputs}

    def close(self) -> None:
        self._database.close()
        self.ledger.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A department without a reference, whose last eight weeks were quiet."""
    bare = tmp_path / "bundle"
    bare.mkdir()
    opened = Site(tmp_path / "state", bare)
    opened.films(1600, until_days=7, days=56)
    yield opened
    opened.close()


def large(indices: Mapping[DriftInput, float | None]) -> set[DriftInput]:
    assert None not in indices.values()
    return {each for each, index in indices.items() if index is not None and index > LARGE}


@pytest.mark.parametrize("films", [230, 600])
def test_a_quiet_week_is_far_from_the_alert(site: Site, films: int) -> None:
    site.films(films)
    indices = site.indices()
    assert large(indices) == set()
    assert max(each for each in indices.values() if each is not None) < 0.15


CHANGES: Final[Sequence[tuple[dict[DriftInput, Weights], set[DriftInput]]]] = [
    ({DriftInput.MANUFACTURER: {"siemens": 0.3, "samsung": 0.7}}, {DriftInput.MANUFACTURER}),
    ({DriftInput.VIEW: {"AP": 0.7, "PA": 0.3}}, {DriftInput.VIEW}),
    (
        {DriftInput.KVP: {"70 to 80": 0.9, "120 to 130": 0.1}, DriftInput.TONE: {"below 0.4": 1}},
        {DriftInput.KVP, DriftInput.TONE},
    ),
    ({DriftInput.EXPOSURE: {"not stated": 1}}, {DriftInput.EXPOSURE}),
    ({DriftInput.SIZE: {"below 512": 1}}, {DriftInput.SIZE}),
]


@pytest.mark.parametrize(("changed", "expected"), CHANGES)
def test_a_new_machine_or_protocol_passes_the_alert_in_what_it_changes_alone(
    site: Site, changed: dict[DriftInput, Weights], expected: set[DriftInput]
) -> None:
    site.films(300, changed=changed)
    assert large(site.indices()) == expected


def test_other_probabilities_and_more_refusals_pass_the_alert(site: Site) -> None:
    site.films(500, probability=lambda chance: chance.betavariate(3, 1.5), refused=0.35)
    assert large(site.indices()) == {DriftInput.PROBABILITY, DriftInput.REFUSAL}


def test_a_change_of_yesterday_is_seen_before_the_week_is_over(site: Site) -> None:
    site.films(200, until_days=1, days=6)
    site.films(120, days=1, changed={DriftInput.VIEW: {"AP": 1}})
    assert DriftInput.VIEW in large(site.indices())


def test_too_few_films_have_no_index(site: Site) -> None:
    site.films(199)
    measured = site.measured()
    assert measured.instances == 199
    assert {each.drift.index for each in measured.inputs} == {None}


def test_a_site_can_accept_what_it_is_now(site: Site) -> None:
    changed = {DriftInput.VIEW: {"AP": 0.7, "PA": 0.3}}
    site.films(300, changed=changed)
    assert DriftInput.VIEW in large(site.indices())
    since, counts = site.monitor().counts(NOW, 7)
    site.ledger.drift.accept(counts, since, NOW)
    measured = site.measured()
    assert {each.reference.kind for each in measured.inputs} == {ReferenceKind.SITE}
    assert large(site.indices()) == set()
    assert site.ledger.drift.forget() == len(DriftInput)
    assert DriftInput.VIEW in large(site.indices())


def test_the_bundle_s_reference_comes_before_the_weeks_before(site: Site, tmp_path: Path) -> None:
    (tmp_path / "bundle" / "configs").mkdir()
    reference = {
        "format": 1,
        "inputs": {"view": {"of": "the training", "counts": {"AP": 500, "PA": 10}}},
    }
    (tmp_path / "bundle" / "configs" / "reference.json").write_text(json.dumps(reference))
    site.films(300)
    kinds = {each.input: each.reference.kind for each in site.measured().inputs}
    assert kinds[DriftInput.VIEW] is ReferenceKind.BUNDLE
    assert set(kinds.values()) == {ReferenceKind.BUNDLE, ReferenceKind.BEFORE}
    assert large(site.indices()) == {DriftInput.VIEW}, "this site is not the training"


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[" * 100_000, b'{"format": 1}', b" " * ((1 << 20) + 1)]
)
def test_a_reference_that_cannot_be_used_leaves_the_weeks_before(
    site: Site, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "bundle" / "configs" / "reference.json"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(BadReferenceError):
        read_reference(tmp_path / "bundle")
    site.films(300)
    assert {each.reference.kind for each in site.measured().inputs} == {ReferenceKind.BEFORE}


def test_the_shipped_bundle_has_references_and_a_week_drawn_from_them_is_quiet(
    tmp_path: Path,
) -> None:
    references = read_reference(SHIPPED_BUNDLE)
    drawn: dict[DriftInput, Weights] = {
        each: references[each].counts for each in (DriftInput.VIEW, DriftInput.TONE)
    }
    site = Site(tmp_path / "state", SHIPPED_BUNDLE)
    middle = probabilities_like(references[DriftInput.PROBABILITY].counts)
    site.films(500, changed=drawn, probability=middle, refused=0)
    indices = {key: value for key, value in site.indices().items() if key in references}
    assert large(indices) == set()
    site.close()


def probabilities_like(counts: Counter[str]) -> Callable[[random.Random], float]:
    """Draw a probability within one of the groups, as often as the reference has it."""
    edges = [0.0, *EDGES[DriftInput.PROBABILITY], 1.0]
    ends = dict(zip(GROUPS[DriftInput.PROBABILITY], pairwise(edges), strict=False))

    def draw(chance: random.Random) -> float:
        (group,) = chance.choices(list(counts), list(counts.values()))
        low, high = ends[group]
        return low + (high - low) * (0.1 + 0.8 * chance.random())

    return draw


def test_a_measurement_is_kept_for_minutes(site: Site) -> None:
    times = [NOW]
    monitor = DriftMonitor(site.settings, site.ledger, lambda: times[0])
    first = monitor.latest()
    site.films(300)
    times[0] += 299
    assert monitor.latest() is first
    times[0] += 2
    assert monitor.latest().instances > first.instances


def test_the_metrics_have_the_closed_set_of_inputs_and_nothing_of_a_patient(
    site: Site, tmp_path: Path
) -> None:
    site.films(300)
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    collector = LedgerMetrics(site.settings, site.ledger, spool)
    collector._drift = site.monitor()
    families = {each.name: each for each in collector.collect()}
    samples = families["lobar_drift_psi"].samples
    assert {tuple(each.labels.items()) for each in samples} == {
        (("input", str(each)),) for each in DriftInput
    }
    assert all(0 <= each.value < LARGE for each in samples)
    (window,) = families["lobar_drift_window_instances"].samples
    assert window.value == 300


def test_without_enough_films_there_is_no_sample(tmp_path: Path) -> None:
    site = Site(tmp_path / "state", tmp_path)
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    families: dict[str, Any] = {
        each.name: each for each in LedgerMetrics(site.settings, site.ledger, spool).collect()
    }
    assert families["lobar_drift_psi"].samples == []
    assert families["lobar_drift_window_instances"].samples[0].value == 0
    site.close()


def test_a_huge_window_is_cut_to_its_last_films(site: Site) -> None:
    newest = site.ledger.drift.beginning(NOW, 100)
    counts = site.ledger.drift.counts(newest, NOW)
    assert counts[DriftInput.REFUSAL].total() == 100
    assert site.ledger.drift.beginning(NOW, 10_000) == 0
