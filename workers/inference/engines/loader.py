"""Load the bundle of an infer worker, with torch in its process or without."""

import structlog

from service.decoding import DecoderPool
from service.settings import Settings
from workers.inference.decoders import DecodingPostprocessing, DecodingReader
from workers.inference.engines.artefact import OPENVINO, TORCH, Artefact
from workers.inference.engines.choice import needs_no_torch, usable
from workers.inference.model_io import AnyPredictor

log = structlog.get_logger()


class PredictorLoader:
    """Decides when it is made, before decoders are forked, and loads when they are.

    A process that needs no torch does not import it: the template of the decoders does, in a
    process of its own. Where this process needs it, it is imported before the fork, so that both
    share its memory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._artefact = settings, usable(settings)
        self._whole = self._artefact if self._artefact and needs_no_torch(self._artefact) else None
        if self._whole is None:
            import workers.inference.predictor  # noqa: F401, PLC0415 -- see above

    def load(self, reader: DecodingReader, pool: DecoderPool) -> AnyPredictor:
        """Load the bundle.

        Args:
            reader: reads radiographs in decoders.
            pool: of decoders for nothing but postprocessing.

        Raises:
            BundleError: it cannot be used.
            RuntimeError: the engine cannot be used; the next start uses torch.
        """
        engine = OPENVINO if self._artefact else TORCH
        log.info("engine_chosen", engine=engine, without_torch=self._whole is not None)
        if self._whole is None:
            return self._with_torch()
        return self._without_torch(self._whole, reader, pool)

    def _without_torch(
        self, artefact: Artefact, reader: DecodingReader, pool: DecoderPool
    ) -> AnyPredictor:
        from workers.inference.engines.engine_predictor import EnginePredictor  # noqa: PLC0415 -- OpenVINO costs 50 MB

        postprocessing = DecodingPostprocessing(pool)
        return EnginePredictor(self._settings.bundle, artefact, reader, postprocessing)

    def _with_torch(self) -> AnyPredictor:
        from workers.inference.engines.search import EngineSearch  # noqa: PLC0415 -- likewise
        from workers.inference.predictor import load_predictor  # noqa: PLC0415 -- torch and monai cost seconds

        predictor = load_predictor(self._settings.bundle)
        search = EngineSearch(self._settings, predictor)
        if self._artefact is None:
            search.watch()
        else:
            search.hand_over()
        return predictor
