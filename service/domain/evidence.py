"""What a model saw in a radiograph, for people to judge a finding by."""

from dataclasses import dataclass
from typing import Final

LONGEST_SIDE: Final = 32  # cells of an attention map; a finer one pretends a resolution
DECIMALS: Final = 3  # of a value in the ledger, so that a map of 14x14 has one kilobyte


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rectangle of the radiograph, as fractions of its rows (from the top) and columns."""

    top: float
    left: float
    bottom: float
    right: float

    def __post_init__(self) -> None:
        if not (0 <= self.top < self.bottom <= 1 and 0 <= self.left < self.right <= 1):
            raise ValueError(
                f"top {self.top}, left {self.left}, bottom {self.bottom}, right {self.right} is "
                "no region of a radiograph"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMap:
    """The evidence for pneumonia place by place, over the whole radiograph.

    The cells divide the radiograph evenly, whatever its shape: cell (r, c) covers the fractions
    r/rows to (r+1)/rows from the top and c/columns to (c+1)/columns from the left. A value is
    what the probability would be if every place were like this one, from 0 to 1.
    """

    rows: int
    columns: int
    values: tuple[float, ...]  # row by row, from the top left

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= LONGEST_SIDE and 1 <= self.columns <= LONGEST_SIDE):
            raise ValueError(f"an attention map has at most {LONGEST_SIDE} cells a side")
        if len(self.values) != self.rows * self.columns:
            raise ValueError(f"{len(self.values)} values are not {self.rows} x {self.columns}")
        if not all(0 <= value <= 1 for value in self.values):  # nor is NaN
            raise ValueError("a value of an attention map is not from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the page of a job shows of an analysis beside its finding.

    Attributes:
        region: where the evidence is concentrated; None for an absent finding.
        attention: None where the model gives no map.
        other_threshold: of the operating point of the other abnormality, where there is one.
        other_indeterminate_low: the band around it in which the model abstains.
        other_indeterminate_high: its upper bound.
        calibrated: whether the probability is.
        weights_sha256: of the model, 64 lower-case hexadecimal digits.
    """

    region: Region | None = None
    attention: AttentionMap | None = None
    other_threshold: float | None = None
    other_indeterminate_low: float | None = None
    other_indeterminate_high: float | None = None
    calibrated: bool | None = None
    weights_sha256: str | None = None
