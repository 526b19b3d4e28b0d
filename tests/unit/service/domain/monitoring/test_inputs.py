"""The groups in which films are counted for drift."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from service.domain.monitoring.inputs import (
    EDGES,
    GROUPS,
    NOT_STATED,
    DriftInput,
    InputGroups,
    manufacturer_group,
    number_group,
    refusal_group,
    view_group,
)
from service.domain.reasons import NOT_ANALYSED, Reason


@pytest.mark.parametrize(
    ("written", "group"),
    [
        ("SIEMENS", "siemens"),
        ("Siemens Healthineers", "siemens"),
        ("GE MEDICAL SYSTEMS", "ge"),
        ("GE Healthcare", "ge"),
        ("General Electric", "ge"),
        ("FUJIFILM Corporation", "fuji"),
        ("FUJI PHOTO FILM Co., ltd.", "fuji"),
        ("KONICA MINOLTA", "konica minolta"),
        ("Eastman Kodak Company", "carestream"),
        ("  philips_medical-systems ", "philips"),
        ("Genoray", "other"),
        ("Anna Example", "other"),
        ("", NOT_STATED),
        (" - ", NOT_STATED),
    ],
)
def test_a_maker_is_known_by_how_its_name_begins(written: str, group: str) -> None:
    assert manufacturer_group(written) == group


@pytest.mark.parametrize(
    ("written", "group"), [("PA", "PA"), (" ap ", "AP"), ("LL", "other"), ("", NOT_STATED)]
)
def test_a_view_is_frontal_or_other(written: str, group: str) -> None:
    assert view_group(written) == group


@pytest.mark.parametrize(
    ("of", "value", "group"),
    [
        (DriftInput.KVP, 49.9, "below 50"),
        (DriftInput.KVP, 50, "50 to 60"),
        (DriftInput.KVP, 130, "130 and more"),
        (DriftInput.EXPOSURE, 0.7, "0.5 to 1"),
        (DriftInput.PROBABILITY, 0.0, "below 0.02"),
        (DriftInput.PROBABILITY, 1.0, "0.98 and more"),
        (DriftInput.SIZE, None, NOT_STATED),
        (DriftInput.TONE, math.nan, NOT_STATED),
    ],
)
def test_a_number_belongs_to_the_range_that_it_begins_or_lies_in(
    of: DriftInput, value: float | None, group: str
) -> None:
    assert number_group(of, value) == group


@given(some.text(max_size=80))
def test_whatever_a_header_says_is_one_of_the_groups(written: str) -> None:
    assert manufacturer_group(written) in GROUPS[DriftInput.MANUFACTURER]
    assert view_group(written) in GROUPS[DriftInput.VIEW]


@given(some.sampled_from(list(EDGES)), some.none() | some.floats())
def test_every_number_is_in_one_of_the_groups(of: DriftInput, value: float | None) -> None:
    assert number_group(of, value) in GROUPS[of]


def test_only_the_judgements_of_the_pixels_are_refusals() -> None:
    assert refusal_group(None) == refusal_group(Reason.POPULATION) == "none"
    groups = {refusal_group(reason) for reason in NOT_ANALYSED} - {None}
    assert groups == set(GROUPS[DriftInput.REFUSAL])
    assert refusal_group(Reason.MODALITY) is None
    assert refusal_group(Reason.DECODER_TIMEOUT) is None


def test_a_group_is_no_text_of_a_header() -> None:
    with pytest.raises(ValueError, match="manufacturer"):
        InputGroups(manufacturer="Anna Example", tone="0.5 to 0.525")
    assert InputGroups(tone="0.5 to 0.525").kvp == NOT_STATED


def test_every_name_of_a_group_fits_into_the_ledger() -> None:
    assert max(len(each) for groups in GROUPS.values() for each in groups) <= 32
