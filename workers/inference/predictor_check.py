"""Whether a predictor works at all, asked with an input that it is known to predict."""

from collections.abc import Sequence
from copy import deepcopy

import structlog

from service.storage.faults import Fault, fault_of
from workers.inference.model_io import AnyPredictor, Pixels

log = structlog.get_logger()


class PredictorCheck:
    """Tells a predictor that fails from an instance that it fails on.

    The evidence is the first input that was predicted well since the process began. Before there
    is one, a blank input may do: that a predictor takes one is evidence that it works, that it
    does not is none.
    """

    def __init__(self, predictor: AnyPredictor) -> None:
        self._predictor = predictor
        # in memory only, one at a time: an input, and the age of its patient
        self._known: tuple[Pixels, float | None] | None = None
        self._failed_on: set[str] = set()  # jobs, until one was predicted well
        self.fault: Fault | None = None  # met when it was last asked

    def passed(self, inputs: Sequence[Pixels], ages: Sequence[float | None]) -> None:
        """Note that these inputs were predicted well, with the ages of their patients."""
        if self._known is None:
            self._known = inputs[0], ages[0]
            self._failed_on.clear()

    def failed(self, job_ids: Sequence[str]) -> None:
        """Note that the predictor failed on the instances of these jobs."""
        if self._known is None:
            self._failed_on.update(job_ids)

    def works(self, like: Pixels, *, trusts_blank: bool = True) -> bool | None:
        """Return whether the predictor works now; None if that is not known.

        Args:
            like: The input of an instance, for the shape of a blank one.
            trusts_blank: Whether a blank input is evidence. It is none where it was predicted
                while the predictor failed on all instances, two at least.
        """
        if self._known is not None:
            return self._predicts(*self._known)
        blank = deepcopy(like)
        blank[...] = 0  # not by arithmetic: 0 times NaN is NaN
        is_evidence = self._predicts(blank) and trusts_blank and len(self._failed_on) <= 1
        return True if is_evidence else None

    def _predicts(self, tensor: Pixels, age: float | None = None) -> bool:
        self.fault = None
        try:
            self._predictor.predict([tensor], [age])
        except Exception as error:  # a bundle's code may raise anything
            self.fault = fault_of(error) or Fault.PREDICTOR_FAILED
            log.exception("predictor_failed", fault=self.fault)
            return False
        return True
