"""A region and an attention map that exist are valid."""

from typing import Any

import pytest

from service.domain.evidence import LONGEST_SIDE, AttentionMap, Region


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": 0, "columns": 2, "values": ()},
        {"rows": LONGEST_SIDE + 1, "columns": 1, "values": (0.0,) * (LONGEST_SIDE + 1)},
        {"rows": 2, "columns": 2, "values": (0.0, 0.0, 0.0)},
        {"rows": 1, "columns": 2, "values": (0.0, 1.1)},
        {"rows": 1, "columns": 2, "values": (0.0, float("nan"))},
    ],
)
def test_what_is_no_map_of_evidence_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"attention map|values are not"):
        AttentionMap(**wrong)


@pytest.mark.parametrize(
    "edges", [(0.5, 0.0, 0.5, 1.0), (0.0, 0.0, 1.1, 1.0), (0.0, float("nan"), 1.0, 1.0)]
)
def test_what_is_no_part_of_a_radiograph_is_no_region(
    edges: tuple[float, float, float, float],
) -> None:
    top, left, bottom, right = edges
    with pytest.raises(ValueError, match="no region"):
        Region(top=top, left=left, bottom=bottom, right=right)
