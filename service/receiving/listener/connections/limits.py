"""How many associations may be open: in total, with one calling AE title, from one address."""

import threading
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from service.receiving.listener.refusals import Refused
from service.settings import DicomSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Requestor:
    """Who requests an association, as far as it is counted."""

    ae_title: str
    network: str


class AssociationLimits:
    """The associations that are open, from their request to the end of their threads."""

    def __init__(self, dicom: DicomSettings) -> None:
        self._most = dicom.maximum_associations
        self._most_of_one = {
            Refused.AE_TITLE_LIMIT: dicom.maximum_associations_per_ae,
            Refused.ADDRESS_LIMIT: dicom.maximum_associations_per_address,
        }
        self._counting = threading.Lock()
        self._open: Counter[Hashable] = Counter()
        self._total = 0

    def take(self, requestor: Requestor) -> Refused | None:
        """Count an association, or return the limit that it would exceed.

        A limit of its own comes first, because waiting for others does not help there.
        """
        keys = _keys(requestor)
        with self._counting:
            for reason, key in keys.items():
                if self._open[key] >= self._most_of_one[reason]:
                    return reason
            if self._total >= self._most:
                return Refused.LIMIT
            self._open.update(keys.values())
            self._total += 1
        return None

    def give_back(self, requestor: Requestor) -> None:
        """Count an association no more."""
        with self._counting:
            self._total -= 1
            self._open.subtract(_keys(requestor).values())
            self._open += Counter()  # keeps only what is positive: titles are the peers' choice


def _keys(requestor: Requestor) -> dict[Refused, Hashable]:
    return {
        Refused.AE_TITLE_LIMIT: (Refused.AE_TITLE_LIMIT, requestor.ae_title),
        Refused.ADDRESS_LIMIT: (Refused.ADDRESS_LIMIT, requestor.network),
    }
