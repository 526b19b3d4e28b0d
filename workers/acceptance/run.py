"""Run the steps against a destination, and print the report for its administrator."""

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.dicom.implementation import IMPLEMENTATION_VERSION_NAME
from service.settings import Destination, DimseDestination, Settings, WebDestination
from workers.acceptance import dicomweb, dimse
from workers.acceptance.observation import Observation, Result, is_accepted
from workers.acceptance.study import PATIENT_NAME, SyntheticStudy, make_study

_SYNTHETIC: Final = (
    "The study was made for this run: an invented patient, a synthetic radiograph, and outputs "
    "about it without a model. Not a medical device: research use only."
)
SAMPLE: Final = Path("demo/samples/cr_monochrome1.dcm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How far an acceptance run goes."""

    repeats: int = 10
    commitment_seconds: float = 30
    with_image: bool = True
    remove: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The outcome of a run: what was observed, and what stays in the PACS."""

    destination: Destination
    at: datetime
    observations: tuple[Observation, ...]
    study: SyntheticStudy
    removed: bool

    @property
    def accepted(self) -> bool:
        """Whether no step failed."""
        return is_accepted(self.observations)


def run_acceptance(
    settings: Settings, destination: DimseDestination | WebDestination, options: Options
) -> Acceptance:
    """Store a synthetic study of an invented patient, and observe what the PACS does with it."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="lobar-acceptance-") as folder:
        study = make_study(
            sample(), Path(folder), destination.outputs, now, with_image=options.with_image
        )
        observations = list(_observe(settings, destination, study, options))
    removed = observations[-1].result is Result.PASSED if options.remove else False
    return Acceptance(
        destination=destination,
        at=now,
        observations=tuple(observations),
        study=study,
        removed=removed,
    )


def sample() -> Path:
    """Return the path of the synthetic radiograph that Lobar carries."""
    import service  # noqa: PLC0415 -- only to find its files

    return Path(service.__file__).parent / SAMPLE


def _observe(
    settings: Settings,
    destination: DimseDestination | WebDestination,
    study: SyntheticStudy,
    options: Options,
) -> Iterator[Observation]:
    if isinstance(destination, DimseDestination):
        yield from dimse.observe(
            settings,
            destination,
            study,
            repeats=options.repeats,
            commitment_seconds=options.commitment_seconds,
        )
        if options.remove:
            detail = "DIMSE has no request to delete"
            step = "Deletes the study when asked"
            yield Observation(step=step, result=Result.NOT_OFFERED, detail=detail)
        return
    yield from dicomweb.observe(destination, study, repeats=options.repeats)
    if options.remove:
        yield dicomweb.remove_study(destination, study)


def as_json(acceptance: Acceptance) -> str:
    """Return a run as JSON for programs."""
    return json.dumps(
        {
            "destination": acceptance.destination.name,
            "at": acceptance.at.isoformat(timespec="seconds"),
            "lobar": IMPLEMENTATION_VERSION_NAME,
            "accepted": acceptance.accepted,
            "observations": [asdict(each) for each in acceptance.observations],
            "stays": None if acceptance.removed else _stays(acceptance.study),
        },
        indent=2,
    )


def as_markdown(acceptance: Acceptance) -> str:
    """Return a run as a page that can be handed to the administrator of the PACS."""
    lines = [
        f"# Acceptance of {acceptance.destination.name} by Lobar",
        "",
        (
            f"{acceptance.at:%Y-%m-%d %H:%M} UTC, {IMPLEMENTATION_VERSION_NAME}, "
            f"{_where(acceptance.destination)}."
        ),
        "",
        _SYNTHETIC,
        "",
        f"**{'Nothing failed.' if acceptance.accepted else 'Something failed: see below.'}**",
        "",
        "| Step | Result | What was seen | Time (ms) |",
        "|---|---|---|---|",
        *(_row(each) for each in acceptance.observations),
        "",
        "## What stays",
        "",
        *_stays_in_words(acceptance),
    ]
    return "\n".join(lines)


def _row(observation: Observation) -> str:
    detail = observation.detail.replace("|", "\\|")
    return (
        f"| {observation.step} | {observation.result} | {detail} "
        f"| {_times(observation.milliseconds)} |"
    )


def _times(milliseconds: Sequence[float]) -> str:
    if not milliseconds:
        return ""
    if len(milliseconds) == 1:
        return f"{milliseconds[0]:.0f}"
    return (
        f"median {statistics.median(milliseconds):.0f}, "
        f"{min(milliseconds):.0f} to {max(milliseconds):.0f}"
    )


def _where(destination: Destination) -> str:
    if isinstance(destination, DimseDestination):
        return f"{destination.ae_title} at {destination.host}:{destination.port}"
    return destination.url if isinstance(destination, WebDestination) else destination.name


def _stays(study: SyntheticStudy) -> dict[str, str]:
    return {
        "patient_name": PATIENT_NAME,
        "patient_id": study.patient_id,
        "study_instance_uid": study.study_instance_uid,
    }


def _stays_in_words(acceptance: Acceptance) -> list[str]:
    if acceptance.removed:
        return ["Nothing: the service deleted the study when it was asked to."]
    stays = _stays(acceptance.study)
    return [
        "The PACS keeps one study, which its administrator may delete:",
        "",
        f"- patient {stays['patient_name']}, ID {stays['patient_id']}",
        f"- study {stays['study_instance_uid']}",
    ]
