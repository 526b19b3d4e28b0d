"""Export the network of a bundle, with its inferer, to OpenVINO's format."""

import warnings
from dataclasses import dataclass
from typing import Final

import torch

from workers.inference.engines.openvino_engine import PROPERTIES
from workers.inference.engines.quiet_openvino import openvino
from workers.inference.pipeline import Pipeline, named

_TRACED_BATCH: Final = 2  # one would let torch take a broadcast for a fixed size


class NotExportableError(Exception):
    """A network cannot be exported; the message says why, in one line."""


class _Traceable(torch.nn.Module):
    """A pipeline's inferer and network as one module whose outputs have an order, not names."""

    def __init__(self, pipeline: Pipeline, names: list[str]) -> None:
        super().__init__()
        self.network = pipeline.network
        self._inferer, self._names = pipeline.inferer, names

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = named(self._inferer(images, self.network), batch=len(images))
        return tuple(outputs[name] for name in self._names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A network compiled by OpenVINO, and the names of its outputs in their order."""

    network: bytes
    outputs: tuple[str, ...]


def export(pipeline: Pipeline, shape: tuple[int, ...]) -> Exported:
    """Export the network for inputs of a shape CxHxW and batches of any size.

    Raises:
        NotExportableError: torch cannot trace it, or OpenVINO cannot read what was traced.
    """
    example = torch.zeros(_TRACED_BATCH, *shape)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are fixed now: `measure` compares
            names = list(named(pipeline.inferer(example, pipeline.network), batch=_TRACED_BATCH))
            module = _Traceable(pipeline, names).eval()
            traced = torch.jit.trace(module, example, check_trace=False)
            return Exported(network=_compiled(traced, shape), outputs=tuple(names))
    except Exception as error:  # a bundle's code and two compilers may raise anything
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise NotExportableError(words) from error


def _compiled(traced: torch.jit.ScriptModule, shape: tuple[int, ...]) -> bytes:
    from openvino.frontend import FrontEndManager  # noqa: PLC0415 -- after `quiet_openvino`
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # to be kept until all is converted
    model = frontend.convert(frontend.load(decoder))
    [given] = model.inputs
    model.reshape({given: openvino.PartialShape([-1, *shape])})
    exported = openvino.Core().compile_model(model, "CPU", PROPERTIES).export_model()
    return bytes(exported.getbuffer())
