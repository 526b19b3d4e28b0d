"""Rules for the headers of instances that the model is for: frontal radiographs of the chest.

One table of rules. A header without a value, or with one that the tables do not know, passes: only
instances that are clearly something else are left unread. The bundle judges the pixels.
"""

import re
from collections.abc import Callable
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from service.dicom.implementation import is_own_result
from service.dicom.sop_classes import DOCUMENT_SOP_CLASSES
from service.domain.reasons import Reason

# PS3.3 C.7.3.1.1.1 has CR, DX and RG; the others are what people and consoles write instead,
# compared without spaces and signs: "X-RAY", "X RAY"
RADIOGRAPHIC: Final = frozenset(
    "CR DX RG DR DXR XR RX RAD XRAY CXR CRX DDR CHESTXRAY RADIOGRAPHY RADIOGRAPH".split()  # noqa: SIM905 -- a table of words reads better than a list of literals
)
UNSPECIFIC: Final = frozenset({"", "OT", "SC"})  # modalities that a Secondary Capture may name
RADIOGRAPHIC_SOP_CLASSES: Final = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
    }
)
"""An object of these classes is a projection radiograph, whatever free word it names."""

# The defined terms of PS3.3 C.7.3.1.1.1 that name another kind of image: a word of these is meant
OTHER_MODALITIES: Final = frozenset(
    """
    BI BMD CS CT DG DMS DS EC ECG EM EPS ES FA FS FUNDUS GM IO IVOCT IVUS KER LEN LP LS MA MG MR MS
    NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS PT PX RF RTIMAGE SM SRF ST TG US VA VF XA XC
    """.split()  # noqa: SIM905 -- as above
)

# PS3.16 annex L: the parts that a projection radiograph without the chest may name
OTHER_BODY_PARTS: Final = frozenset(
    """
    ABDOMEN ABDOMENPELVIS ANKLE ARM BLADDER BREAST CALCANEUS CALF CERVIX CLAVICLE COCCYX COLON
    CSPINE DUODENUM ELBOW EXTREMITY EYE FEMUR FINGER FOOT FOREARM HAND HEAD HEADNECK HIP HUMERUS
    JAW KIDNEY KNEE LEG LSPINE LUMBARSPINE MANDIBLE MAXILLA NECK ORBIT PATELLA PELVIS RADIUS
    RADIUSULNA RECTUM SACRUM SCAPULA SHOULDER SIJOINT SKULL SINUS SSPINE THIGH TIBIA TIBIAFIBULA
    TLSPINE TMJ TOE ULNA UPPERARM WRIST ZYGOMA
    """.split()  # noqa: SIM905 -- a table of words reads better than a list of literals
)
# PS3.3 C.8.7.1.1.1 and C.8.11.7: lateral, oblique, decubitus; and what consoles write
OTHER_VIEWS: Final = frozenset(
    "LL RL LLD RLD LLO RLO LAT LATERAL LLAT RLAT OBL OBLIQUE LAO RAO LPO RPO".split()  # noqa: SIM905 -- as above
)
# PS3.16 CID 4010 and related: lateral, left and right lateral, sagittal, the obliques, by SNOMED CT
# codes and by the SNOMED RT ones that older equipment sends (PS3.16 annex O)
OTHER_VIEW_CODES: Final = frozenset(
    """
    399067008 399173006 399198007 49370004 30730003 399182000 399184004 399236003 399135007
    399356000 399006002 399038007 399160007 260427002
    R-102CD R-10236 R-10232 G-A104 G-A145 R-102C1 R-10238 R-10234 R-10220
    R-40985 R-10212 R-10210 R-10204 R-40783
    """.split()  # noqa: SIM905 -- as above
)


def _is_own_result(header: Dataset) -> bool:
    return is_own_result(header)


def _is_no_image(header: Dataset) -> bool:
    return _text(header, "SOPClassUID") in DOCUMENT_SOP_CLASSES


def _has_frames(header: Dataset) -> bool:
    try:
        return float(_text(header, "NumberOfFrames")) > 1
    except ValueError:  # none or not a number: the pixels decide
        return False


def _is_other_modality(header: Dataset) -> bool:
    """Return whether Modality and SOP class together name no projection radiograph.

    A list, of CR and DX for example, is radiographic if one of its words is. A class of
    radiographs says more than a word that names nothing; a Secondary Capture may
    hold anything, so its word counts.
    """
    words = _words(header, "Modality")
    if words & RADIOGRAPHIC:
        return False
    if _text(header, "SOPClassUID") in RADIOGRAPHIC_SOP_CLASSES:
        return bool(words & OTHER_MODALITIES)
    captured = _text(header, "SOPClassUID") == SecondaryCaptureImageStorage
    return bool(words) and not (captured and words <= UNSPECIFIC)


def _is_other_body_part(header: Dataset) -> bool:
    return _word(header, "BodyPartExamined") in OTHER_BODY_PARTS


def _is_other_view(header: Dataset) -> bool:
    named = _word(header, "ViewPosition") in OTHER_VIEWS
    return named or any(
        _text(item, "CodeValue") in OTHER_VIEW_CODES for item in _items(header, "ViewCodeSequence")
    )


RULES: Final[tuple[tuple[Reason, Callable[[Dataset], bool]], ...]] = (
    (Reason.OWN_RESULT, _is_own_result),
    (Reason.NOT_AN_IMAGE, _is_no_image),
    (Reason.MODALITY, _is_other_modality),
    (Reason.BODY_PART, _is_other_body_part),
    (Reason.VIEW, _is_other_view),
    (Reason.MULTI_FRAME, _has_frames),
)

OF_HEADERS: Final = frozenset(reason for reason, _ in RULES)
"""The reasons that headers are refused for: no bundle is asked about such an instance."""


def out_of_scope(header: Dataset) -> Reason | None:
    """Return the reason of the first rule that a header meets; None if it is in scope."""
    return next((reason for reason, applies in RULES if applies(header)), None)


def _word(header: Dataset, keyword: str) -> str:
    """Read a value as the tables spell it: `C-SPINE` and `L SPINE` without the separator."""
    return "".join(filter(str.isalnum, _text(header, keyword)))


def _words(header: Dataset, keyword: str) -> set[str]:
    """Read the values of a list as the tables spell them; empty values are left out.

    A value that is no word of the tables may be a list itself: `CR/DX`, `DX CR`.
    """
    try:
        value = header.get(keyword)
        values = [value] if isinstance(value, str) else list(value or [])
        words = {word for each in values for word in _spelled(str(each).upper())}
    except Exception:  # noqa: BLE001 -- a broken value makes pydicom raise many kinds
        return set()
    return words - {""}


def _spelled(value: str) -> list[str]:
    joined = "".join(filter(str.isalnum, value))
    known = joined in RADIOGRAPHIC | OTHER_MODALITIES
    return [joined] if known else re.split(r"[\W_]+", value)


def _text(header: Dataset, keyword: str) -> str:
    """Read a value in capitals; one that cannot be read counts as absent."""
    try:
        value = header.get(keyword)
    except Exception:  # noqa: BLE001 -- a broken value makes pydicom raise many kinds
        return ""
    return "" if value is None else str(value).strip().upper()


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(header.get(keyword) or [])
    except Exception:  # noqa: BLE001 -- as above
        return []
