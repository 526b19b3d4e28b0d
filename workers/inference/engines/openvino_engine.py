"""Run an exported network with OpenVINO."""

import mmap
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.inference.engines.artefact import OPENVINO, Artefact
from workers.inference.engines.quiet_openvino import openvino
from workers.inference.model_io import Outputs, Pixels

# Without the first, OpenVINO takes bfloat16 where a processor has it, which changes probabilities
# by up to 0.17 (ADR 65). Without the last, each thread has a processor of its own and waits for it
# while decoders and reports use it, and the other threads wait for that one (ADR 81).
PROPERTIES: Final[dict[str, str]] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
    "ENABLE_CPU_PINNING": "NO",
}
_TOGETHER: Final = 2  # radiographs; four are a tenth faster, and need 40 MB more


class OpenVinoEngine:
    """A network that was compiled for this processor; used from one thread at a time."""

    name: Final = OPENVINO

    def __init__(
        self, network: NDArray[np.uint8], shape: tuple[int, ...], outputs: tuple[str, ...]
    ) -> None:
        """Load the network.

        Args:
            network: what OpenVINO exported; it must be writable, and is not written.
            shape: of one input, CxHxW.
            outputs: their names, in the order of the network's.

        Raises:
            RuntimeError: OpenVINO cannot use it.
        """
        self._network = openvino.Tensor(network, shared_memory=True)
        compiled = openvino.Core().import_model(self._network, "CPU", PROPERTIES)
        self._request = compiled.create_infer_request()
        self._shape, self._names = shape, outputs

    def takes(self, images: Pixels) -> bool:
        """Return whether images BxCxHxW have the shape that the network was exported for."""
        return images.shape[1:] == self._shape

    def run(self, images: Pixels) -> Outputs:
        """Return the network's outputs for images BxCxHxW.

        Raises:
            RuntimeError: OpenVINO fails.
        """
        starts = range(0, len(images), _TOGETHER)
        found = [self._run(images[start : start + _TOGETHER]) for start in starts]
        return {
            name: np.concatenate([each[place] for each in found])
            for place, name in enumerate(self._names)
        }

    def _run(self, images: Pixels) -> list[Pixels]:
        found = self._request.infer({0: images}, share_inputs=True)
        return [np.array(found[place], dtype=np.float32) for place in range(len(self._names))]


def load_engine(artefact: Artefact) -> OpenVinoEngine:
    """Load a trusted artefact, and run it, so that the first radiograph takes no longer.

    The weights are used where the file is mapped: workers of one machine share them. What was read
    to compile the network, and is not needed again, is given back: 45 MB.

    Raises:
        RuntimeError: OpenVINO cannot use it.
        OSError: it cannot be read.
    """
    shape = artefact.record.shape
    with artefact.network.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    engine = OpenVinoEngine(np.frombuffer(mapped, np.uint8), shape, artefact.record.outputs)
    for size in (1, _TOGETHER):
        engine.run(np.zeros((size, *shape), np.float32))
    mapped.madvise(mmap.MADV_DONTNEED)  # nothing was written, so that each page is the file's
    return engine
