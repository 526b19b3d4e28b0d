"""Find the engine for a bundle on this machine: export, compare, measure, and keep the result."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from service.settings import Settings
from service.storage.private_files import make_private_directory
from workers.inference.bundle import BundleError, read_metadata
from workers.inference.engines.artefact import (
    OPENVINO,
    TORCH,
    Artefact,
    Identity,
    Record,
    find,
    identify,
    keep,
)
from workers.inference.engines.choice import folder_of
from workers.inference.engines.export import NotExportableError, export
from workers.inference.engines.measure import (
    DifferentError,
    inputs_of,
    largest_difference,
    measure,
)
from workers.inference.engines.openvino_engine import OpenVinoEngine
from workers.inference.pins import verify
from workers.inference.pipeline import Pipeline
from workers.inference.predictor import load_pipeline

LEAST_RATIO: Final = 1.1  # of speed, for which another engine is taken


def make(settings: Settings, *, anew: bool = False) -> Artefact:
    """Find the engine for the bundle, unless that was done before; one process at a time.

    Args:
        settings: name the bundle and where to keep what is found.
        anew: whether to do it again.

    Raises:
        BundleError: the bundle cannot be used, is not as pinned, or changed meanwhile.
        NotPrivateError: the folder is open to other accounts.
        OSError: the result cannot be kept.
    """
    verify(settings.bundle)
    engines, identity = folder_of(settings), identify(settings.bundle.path)
    with _alone(engines):
        kept = None if anew else find(engines, identity)
        return kept or _make(engines, identity, settings.bundle.path.resolve())


@contextmanager
def _alone(engines: Path) -> Iterator[None]:
    make_private_directory(engines)
    with (engines / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(engines: Path, identity: Identity, bundle: Path) -> Artefact:
    pipeline = load_pipeline(bundle, read_metadata(bundle), "cpu")
    try:
        record, network = _examined(identity, pipeline)
    except (DifferentError, NotExportableError, RuntimeError) as error:
        words = " ".join(f"no other engine can be used: {error}".split())
        record, network = Record(identity=identity, engine=TORCH, reason=words), None
    if identify(bundle) != identity:
        raise BundleError(f"{bundle} has changed meanwhile: repeat `lobar bundle engine`")
    return keep(engines, record, network)


def _examined(identity: Identity, pipeline: Pipeline) -> tuple[Record, bytes]:
    inputs = inputs_of(pipeline)
    exported = export(pipeline, inputs[0].shape)
    network = np.frombuffer(bytearray(exported.network), np.uint8)
    engine = OpenVinoEngine(network, inputs[0].shape, exported.outputs)
    difference = largest_difference(pipeline, engine, inputs)
    measured = measure(pipeline, engine, inputs[0])
    record = Record(
        identity=identity,
        engine=OPENVINO if measured.ratio >= LEAST_RATIO else TORCH,
        reason=f"OpenVINO is {measured.ratio:.1f} times as fast as torch",
        shape=inputs[0].shape,
        outputs=exported.outputs,
        numbers=sum(each.size for each in pipeline.forward(inputs[0][None]).values()),
        difference=difference,
        milliseconds={TORCH: measured.torch, OPENVINO: measured.other},
    )
    return record, exported.network
