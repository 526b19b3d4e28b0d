"""What the standard requires beside an optional attribute is in the outputs that copy it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from synthetic.report_sources import NOW, element, item, predicted, received, value_fields, values

from service.domain.routing import OutputKind
from workers.reporting.output import as_comprehensive
from workers.reporting.outputs import make_outputs
from workers.reporting.raw_elements import tag_of

PIXELS: Final = np.linspace(0, 1, 25 * 20, dtype=np.float32).reshape(25, 20)
NOT_STATED: Final = b"Not stated in the source image"
METHOD_CODE: Final = item(
    element("CodeValue", b"113100"),
    element("CodingSchemeDesignator", b"DCM"),
    element("CodeMeaning", b"Basic Application Confidentiality Profile"),
)
TRIAL: Final = {
    "ClinicalTrialSponsorName": b"Sponsor ",
    "ClinicalTrialProtocolID": b"P1",
    "ClinicalTrialSubjectID": b"S1",
}
DAMAGED: Final = b"\xfe\xff\x00\xe0\xff\xff\x00\x00"
SOURCES: Final[dict[str, tuple[dict[str, bytes], dict[str, bytes | None]]]] = {
    "identity removed, no method": (
        {"PatientIdentityRemoved": b"YES "},
        {"PatientIdentityRemoved": b"YES ", "DeidentificationMethod": NOT_STATED},
    ),
    "identity removed, an empty method": (
        {"PatientIdentityRemoved": b"YES ", "DeidentificationMethod": b""},
        {"DeidentificationMethod": NOT_STATED},
    ),
    "identity removed, a damaged code": (
        {"PatientIdentityRemoved": b"YES ", "DeidentificationMethodCodeSequence": DAMAGED},
        {"DeidentificationMethod": NOT_STATED, "DeidentificationMethodCodeSequence": None},
    ),
    "identity removed, a method": (
        {"PatientIdentityRemoved": b"YES ", "DeidentificationMethod": b"by hand "},
        {"DeidentificationMethod": b"by hand ", "DeidentificationMethodCodeSequence": None},
    ),
    "identity removed, a code": (
        {"PatientIdentityRemoved": b"YES ", "DeidentificationMethodCodeSequence": METHOD_CODE},
        {"DeidentificationMethod": None, "DeidentificationMethodCodeSequence": METHOD_CODE},
    ),
    "identity kept": (
        {"PatientIdentityRemoved": b"NO"},
        {"PatientIdentityRemoved": b"NO", "DeidentificationMethod": None},
    ),
    "a trial's Type 1 only": (
        TRIAL,
        {
            **TRIAL,
            "ClinicalTrialProtocolName": b"",
            "ClinicalTrialSiteID": b"",
            "ClinicalTrialSiteName": b"",
        },
    ),
    "a time point without its identifier": (
        TRIAL | {"ClinicalTrialTimePointDescription": b"week 6"},
        {"ClinicalTrialTimePointID": b"", "ClinicalTrialTimePointDescription": b"week 6"},
    ),
    "qualifiers of an issuer without the issuer": (
        {"IssuerOfPatientIDQualifiersSequence": item(element("UniversalEntityIDType", b"ISO "))},
        {"IssuerOfPatientID": None},
    ),
}


@pytest.mark.dciodvfy
@pytest.mark.parametrize(("source", "expected"), SOURCES.values(), ids=SOURCES)
def test_a_copied_attribute_takes_along_what_it_requires(
    source: dict[str, bytes],
    expected: dict[str, bytes | None],
    dciodvfy: Callable[[Path], str],
    tmp_path: Path,
) -> None:
    header = received(values() | source)
    outputs = list(make_outputs(header, PIXELS, predicted(), kinds=list(OutputKind), now=NOW))
    for output in (*outputs, as_comprehensive(outputs[0])):
        path = tmp_path / f"{output.sop_instance_uid}.dcm"
        path.write_bytes(output.encode())
        fields = value_fields(path.read_bytes())
        assert {keyword: fields.get(tag_of(keyword)) for keyword in expected} == expected
        printed = dciodvfy(path)
        assert printed
        assert [line for line in printed.splitlines() if line.startswith("Error")] == []
