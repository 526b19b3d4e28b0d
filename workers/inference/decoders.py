"""Read the pixels of instances in decoders, with the preprocessing of a bundle."""

from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from service.decoding import Answer, DecoderPool, DecodingError, Template
from service.decoding.pool import HandlerError
from service.dicom.secondary_capture import PictureError, wrap
from service.domain.evidence import AttentionMap
from service.domain.reasons import EXPLANATIONS, Reason
from service.process_limits import without_collection
from service.settings import BundleSettings
from workers.grey_levels import Levels, grey_levels
from workers.inference import pins
from workers.inference.bundle import CONFIGURATION, BundleError
from workers.inference.model_io import ModelInput, ModelOutput, Outputs
from workers.prediction import NotAnalysable, Region
from workers.tones import Tones

if TYPE_CHECKING:
    from workers.inference.pipeline import Parts


class RadiographHandler:
    """What a decoder does: read one radiograph. The bundle is parsed once, in the template."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle.resolve()
        self._parts: Parts | None = None

    def prepare(self) -> None:
        """Parse the bundle's configuration, which is code and may raise anything."""
        import torch  # noqa: PLC0415 -- in the template, as its parent may do without

        from workers.inference.pipeline import open_parts  # noqa: PLC0415 -- likewise

        torch.set_num_threads(1)  # a decoder is one of several, and the threads of a fork are gone
        self._parts = open_parts(self._bundle)

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Return the tensor or the picture of the radiograph, or why the bundle refuses it."""
        if "picture" in request:
            return _convert(Path(request["picture"]))
        if self._parts is None:
            self.prepare()
        if "ready" in request:
            return Answer()
        parts = cast("Parts", self._parts)
        try:
            if "outputs" in request:
                return _conclude(parts, request)
            if "shown" in request:
                return Answer(
                    arrays={"picture": grey_levels(parts.picture(Path(request["shown"])))}
                )
            path = Path(request["path"])
            read = (
                parts.read_with_picture(path) if request.get("with_picture") else parts.read(path)
            )
        except NotAnalysable as refusal:
            return Answer(values={"refused": str(refusal.reason), "detail": refusal.detail})
        tones = read.tones
        # levels: a quarter of what would have to be handed over
        picture = {} if read.picture is None else {"picture": grey_levels(read.picture)}
        return Answer(
            values={"tones": tones.values if tones else {}},
            arrays={"tensor": read.tensor, **picture, **(tones.entries if tones else {})},
        )


def decoder_template(settings: BundleSettings) -> Template:
    """Hold a bundle to its digests, and start the template of the decoders that read with it.

    Call it before the first thread of this process and before its weights are loaded: decoders are
    forked from this state.

    Raises:
        BundleError: the bundle is not what its digests say.
    """
    pins.verify(settings)
    if settings.engine == "torch":  # this process needs it too: it is loaded once for both
        with without_collection():
            import workers.inference.pipeline  # noqa: F401, PLC0415
    return Template(RadiographHandler(settings.path))


def _convert(picture: Path) -> Answer:
    """Return a PNG or JPEG as an instance, encoded, or why it cannot be one."""
    try:
        instance = wrap(picture)
    except PictureError as error:
        return Answer(values={"unconverted": str(error)})
    encoded = BytesIO()
    dcmwrite(encoded, instance, enforce_file_format=True)
    return Answer(arrays={"instance": np.frombuffer(encoded.getvalue(), np.uint8)})


def _conclude(parts: "Parts", request: Mapping[str, Any]) -> Answer:
    """Return what postprocessing makes of the outputs for one radiograph."""
    outputs = {key: np.asarray(each, np.float32) for key, each in request["outputs"].items()}
    output = parts.conclude(outputs, request["age"])
    if isinstance(output, NotAnalysable):
        raise output
    return Answer(values={"output": asdict(output)})


class DecodingPostprocessing:
    """Concludes as a bundle's postprocessing does, in a decoder: one that has torch and monai."""

    def __init__(self, pool: DecoderPool) -> None:
        """Use a pool of its own, so that no radiograph that takes long is waited for."""
        self._pool = pool

    def wait_until_ready(self) -> None:
        """Wait until decoders can be forked.

        Raises:
            BundleError: the configuration of the bundle cannot be used.
            DecodersLostError: no decoder can be started.
        """
        try:
            self._pool.ask({"ready": True})
        except (HandlerError, DecodingError, OSError) as error:
            raise BundleError(
                f"{CONFIGURATION} cannot be used: `lobar check` lists all its faults"
            ) from error

    def conclude(self, outputs: Outputs, age: float | None) -> ModelOutput | NotAnalysable:
        """Return what postprocessing makes of one radiograph's outputs, or its refusal.

        Raises:
            RuntimeError: postprocessing failed.
            DecodersLostError: no decoder can be started.
        """
        numbers = {key: each.tolist() for key, each in outputs.items()}
        try:
            answer = self._pool.ask({"outputs": numbers, "age": age})
        except (HandlerError, DecodingError, OSError) as error:
            raise RuntimeError("postprocessing failed") from error
        if refused := answer.values.get("refused"):
            return NotAnalysable(Reason(refused), str(answer.values["detail"]))
        return _output(answer.values["output"])


def _output(found: Mapping[str, Any]) -> ModelOutput:
    region, attention = found["region"], found["attention"]
    return ModelOutput(
        probability=found["probability"],
        region=region and Region(**region),
        other=found["other"],
        population=found["population"],
        attention=attention and AttentionMap(**{**attention, "values": tuple(attention["values"])}),
    )


class DecodingReader:
    """Reads radiographs as `Predictor.read` does, in decoders; from several threads at once."""

    def __init__(self, pool: DecoderPool, *, slow_patience: float | None = None) -> None:
        self._pool = pool
        self._slow_patience = slow_patience

    def read(self, path: Path) -> ModelInput:
        """Read one radiograph for the network.

        Raises:
            NotAnalysable: the bundle refuses the radiograph, or its decoder failed.
            DecodersBusyError: the radiograph takes long to read, and so do others before it.
            DecodersLostError: no decoder can be started.
            OSError: the file cannot be read.
        """
        return self._read({"path": str(path.absolute())})

    def read_with_picture(self, path: Path) -> ModelInput:
        """Read one radiograph for the network, and for people where the bundle can do both.

        It raises what `read` does.
        """
        return self._read({"path": str(path.absolute()), "with_picture": True})

    def _read(self, request: Mapping[str, Any]) -> ModelInput:
        answer = self._ask(request)
        return ModelInput(
            tensor=answer.arrays["tensor"],
            tones=Tones.read(answer.values["tones"], answer.arrays),
            picture=answer.arrays.get("picture"),
        )

    def picture(self, path: Path) -> Levels:
        """Read the levels of one radiograph for people; raises what `read` does."""
        return self._ask({"shown": str(path.absolute())}).arrays["picture"]

    def _ask(self, request: Mapping[str, Any]) -> Answer:
        try:
            answer = self._pool.ask(request, slow_patience=self._slow_patience)
        except DecodingError as failure:
            raise NotAnalysable(failure.reason) from failure
        if refused := answer.values.get("refused"):
            raise NotAnalysable(Reason(refused), str(answer.values["detail"]))
        return answer

    def convert(self, picture: Path) -> Dataset:
        """Build the instance of a PNG or JPEG.

        Raises:
            PictureError: it cannot be converted, or its decoder failed.
            DecodersLostError: no decoder can be started.
            OSError: the file cannot be read.
        """
        try:
            answer = self._pool.ask({"picture": str(picture.absolute())})
        except DecodingError as failure:
            raise PictureError(EXPLANATIONS[failure.reason], failure.reason) from failure
        if refused := answer.values.get("unconverted"):
            raise PictureError(str(refused))
        return dcmread(BytesIO(answer.arrays["instance"].tobytes()))
