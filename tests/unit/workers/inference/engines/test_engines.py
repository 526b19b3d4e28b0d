"""A bundle of another maker on an exported engine: the same predictions as with torch."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.foreign_bundle import attentive, gated, make_bundle
from synthetic.objects import make_cr, make_sc

from service.settings import Settings
from workers.inference.decoders import DecodingPostprocessing, DecodingReader
from workers.inference.engines.artefact import OPENVINO, TORCH, Artefact, find, keep
from workers.inference.engines.choice import recorded, usable
from workers.inference.engines.engine_predictor import EnginePredictor
from workers.inference.engines.make import make
from workers.inference.engines.openvino_engine import load_engine
from workers.inference.engines.quiet_openvino import HIDDEN
from workers.inference.engines.search import EngineSearch
from workers.inference.model_io import Outputs, Pixels
from workers.inference.predictor import Predictor
from workers.prediction import NotAnalysable, Prediction

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:PydicomReader", "ignore:NvImgCodecPydicomReader", "ignore:Divide by zero"
    ),
    pytest.mark.usefixtures("validation_mode_restored"),
]

TESTS = Path(__file__).resolve().parents[4]


def exportable(configuration: dict[str, Any]) -> None:
    """Let the bundle give a map beside the logits, refuse bright pictures and name no region."""
    gated(configuration)
    configuration["inferer"] = {"_target_": "scripts.parts.Mapped"}
    configuration["postprocessing"]["transforms"][-1] = {"_target_": "scripts.parts.Gate"}


PARTS = """
from torch.nn.functional import avg_pool2d


class RefusalError(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Mapped:
    def __call__(self, images, network):
        return {
            "pred": network(images),
            "brightness": images.mean((1, 2, 3)).double(),
            "attention": avg_pool2d(images, 8) * 12 - 6,
        }


class Gate:
    def __call__(self, data):
        if data["brightness"] > 0.4:
            raise RefusalError("not-a-chest-radiograph")
        return {**data, "region": [0.25, 0, 0.5, 1]}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("exported")
    bundle = make_bundle(folder / "bundle", configuration=exportable)
    (bundle / "scripts" / "parts.py").write_text(PARTS)
    return Settings(
        state_dir=folder / "state", bundle={"path": bundle, "device": "cpu", "engine": "openvino"}
    )


@pytest.fixture(scope="module")
def artefact(settings: Settings) -> Artefact:
    return make(settings)


@pytest.fixture
def predictor(settings: Settings) -> Predictor:
    return Predictor(settings.bundle.path, device="cpu")


def inputs(count: int, *, side: int = 48) -> list[Pixels]:
    numbers = np.random.default_rng(count)
    levels = np.linspace(0, 1.2, count, dtype=np.float32)
    return [
        np.clip(level * numbers.random((1, side, side), dtype=np.float32), 0, 1) for level in levels
    ]


def test_a_network_is_exported_compared_and_measured_once(
    settings: Settings, artefact: Artefact
) -> None:
    record = artefact.record
    assert record.sha256 is not None
    assert (record.shape, record.outputs) == ((1, 48, 48), ("pred", "brightness", "attention"))
    assert record.numbers == 1 + 1 + 36
    assert record.difference is not None
    assert record.difference <= 1e-6
    assert {name: [*sizes] for name, sizes in record.milliseconds.items()} == {
        TORCH: ["1", "8"],
        OPENVINO: ["1", "8"],
    }
    assert make(settings) == artefact
    assert usable(settings) == artefact


@pytest.mark.usefixtures("artefact")
def test_what_would_report_the_use_of_openvino_is_not_imported() -> None:
    assert "openvino" in sys.modules
    assert [sys.modules[name] for name in HIDDEN] == [None, None]
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")
    reporting = re.compile(r"^openvino_telemetry|^openvino\.tools\.ovc")
    assert {name for name in sys.modules if reporting.match(name)} == set(HIDDEN)


def test_openvino_is_imported_by_the_module_that_hides_these_alone() -> None:
    folder = TESTS.parent / "workers"
    found = {
        path.name
        for path in folder.rglob("*.py")
        if re.search(r"^\s*(import|from) openvino\b(?!\.frontend)", path.read_text(), re.MULTILINE)
    }
    assert found == {"quiet_openvino.py"}


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_an_engine_gives_what_torch_gives_in_batches_of_any_size(
    artefact: Artefact, predictor: Predictor, size: int
) -> None:
    images = np.stack(inputs(size))
    found, wanted = load_engine(artefact).run(images), predictor._pipeline.forward(images)
    assert found.keys() == wanted.keys()
    for key, output in wanted.items():
        assert found[key].shape == output.shape
        assert found[key] == pytest.approx(output, abs=1e-5)


def affinities() -> set[frozenset[int]]:
    """Return the processors that the threads of this process may run on."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it ended
            found.add(frozenset(os.sched_getaffinity(int(thread.name))))
    return found


def test_threads_of_an_engine_may_run_on_every_processor(artefact: Artefact) -> None:
    """One that waited for its own processor, which others use, would hold up the rest."""
    engine, images = load_engine(artefact), np.stack(inputs(8))
    seen = affinities()
    with ThreadPoolExecutor(1) as other:
        running = other.submit(lambda: [engine.run(images) for _ in range(500)])
        while not running.done():
            seen |= affinities()
        running.result()
    assert seen == {frozenset(os.sched_getaffinity(0))}


def mapped_kilobytes(path: Path) -> tuple[int, int]:
    """Return how much of a file this process maps, and how much of that is in its memory."""
    sizes, resident, is_of_it = [], [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            is_of_it = line.endswith(str(path))
        elif is_of_it and first == "Size:":
            sizes.append(int(rest[0]))
        elif is_of_it and first == "Rss:":
            resident.append(int(rest[0]))
    return sum(sizes), sum(resident)


def test_what_was_read_to_compile_a_network_is_given_back(artefact: Artefact) -> None:
    engine = load_engine(artefact)
    size, resident = mapped_kilobytes(artefact.network)
    assert size >= artefact.network.stat().st_size // 1024
    assert resident < size / 2
    engine.run(np.stack(inputs(1)))
    assert mapped_kilobytes(artefact.network)[1] < size


def same(found: Prediction | NotAnalysable, wanted: Prediction | NotAnalysable) -> bool:
    if isinstance(found, Prediction) and isinstance(wanted, Prediction):
        assert found.attention is not None
        assert wanted.attention is not None
        return (
            (found.finding, found.region, found.population)
            == (wanted.finding, wanted.region, wanted.population)
            and found.probability == pytest.approx(wanted.probability, abs=1e-5)
            and found.attention.values == pytest.approx(wanted.attention.values, abs=1e-4)
        )
    return isinstance(found, NotAnalysable) and str(found) == str(wanted)


def test_a_predictor_with_an_engine_predicts_as_one_without(
    artefact: Artefact, predictor: Predictor
) -> None:
    wanted = predictor.predict(inputs(9))
    assert {type(each) for each in wanted} == {Prediction, NotAnalysable}
    predictor.engine = load_engine(artefact)
    by_torch: list[float] = []
    predictor.note_seconds = by_torch.append
    assert all(map(same, predictor.predict(inputs(9)), wanted))
    assert by_torch == []


def test_inputs_of_another_shape_are_left_to_torch(
    artefact: Artefact, predictor: Predictor
) -> None:
    wanted = predictor.predict(inputs(3, side=64))
    predictor.engine = load_engine(artefact)
    assert all(map(same, predictor.predict(inputs(3, side=64)), wanted))
    assert predictor.engine is not None


class FailingEngine:
    name = "openvino"

    def takes(self, _: Pixels) -> bool:
        return True

    def run(self, _: Pixels) -> Outputs:
        raise RuntimeError("no memory for the primitive")


def test_an_engine_that_fails_is_not_asked_again(predictor: Predictor) -> None:
    wanted = predictor.predict(inputs(3))
    predictor.engine = FailingEngine()
    with capture_logs() as logged:
        assert all(map(same, predictor.predict(inputs(3)), wanted))
    assert [each["event"] for each in logged] == ["engine_failed"]
    assert predictor.engine is None


def in_a_process(settings: Settings, files: list[Path], **environment: str) -> dict[str, Any]:
    variables = {
        "PYTHONPATH": str(TESTS),
        "LOBAR_STATE_DIR": str(settings.state_dir),
        "LOBAR_BUNDLE__PATH": str(settings.bundle.path),
        "LOBAR_BUNDLE__DEVICE": "cpu",
        **environment,
    }
    command = [sys.executable, "-W", "ignore", "-m", "support.predicting_process"]
    done = subprocess.run(
        ["env", *(f"{name}={value}" for name, value in variables.items()), *command, *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.usefixtures("artefact")
def test_a_worker_with_an_engine_has_neither_torch_nor_monai_and_predicts_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a.dcm", "b.dcm", "blank.dcm")]
    make_cr().save_as(files[0], enforce_file_format=True)
    make_sc().save_as(files[1], enforce_file_format=True)
    make_cr(photometric="MONOCHROME1").save_as(files[2], enforce_file_format=True)
    without = in_a_process(settings, files, LOBAR_BUNDLE__ENGINE="openvino")
    with_torch = in_a_process(settings, files, LOBAR_BUNDLE__ENGINE="torch")
    assert (without["torch"], without["monai"]) == (False, False)
    assert (with_torch["torch"], with_torch["monai"]) == (True, True)
    for found, wanted in zip(without["found"], with_torch["found"], strict=True):
        assert found[1:] == wanted[1:]
        assert found[0] == pytest.approx(wanted[0], abs=1e-5)


class PostprocessingHere:
    """A double of `DecodingPostprocessing` without a process."""

    def __init__(self, predictor: Predictor) -> None:
        self.conclude = predictor._pipeline.conclude

    def wait_until_ready(self) -> None:
        """Decoders are not needed."""


def without_torch(settings: Settings, artefact: Artefact, predictor: Predictor) -> EnginePredictor:
    postprocessing = cast("DecodingPostprocessing", PostprocessingHere(predictor))
    reader = cast("DecodingReader", predictor)
    return EnginePredictor(settings.bundle, artefact, reader, postprocessing)


def test_an_engine_predictor_predicts_as_one_with_torch(
    settings: Settings, artefact: Artefact, predictor: Predictor
) -> None:
    engine = without_torch(settings, artefact, predictor)
    assert all(map(same, engine.predict(inputs(9)), predictor.predict(inputs(9))))
    assert engine.predict([]) == []
    assert (engine.model, engine.device) == (predictor.model, "cpu")
    with pytest.raises(ValueError, match="zip"):
        engine.predict(inputs(2), [3.0])


def test_after_an_engine_failed_in_a_worker_without_torch_the_next_one_has_torch(
    settings: Settings, artefact: Artefact, predictor: Predictor, tmp_path: Path
) -> None:
    (copied := tmp_path / "engines").mkdir(mode=0o700)
    kept = keep(copied, artefact.record, artefact.network.read_bytes())
    bundle = settings.bundle.model_copy(update={"engines": copied})
    elsewhere = settings.model_copy(update={"bundle": bundle})
    assert usable(elsewhere) == kept
    with pytest.raises(RuntimeError, match="another shape"):
        without_torch(settings, kept, predictor).predict(inputs(2, side=64))
    assert usable(elsewhere) is None
    failed = recorded(elsewhere)
    assert failed is not None
    assert failed.record.summary.startswith("torch: the engine failed")


def test_a_network_that_openvino_does_not_take_is_not_tried_again(
    settings: Settings, artefact: Artefact, predictor: Predictor, tmp_path: Path
) -> None:
    (copied := tmp_path / "engines").mkdir(mode=0o700)
    kept = keep(copied, artefact.record, b"no network" * 100)
    with pytest.raises(RuntimeError):
        without_torch(settings, kept, predictor)
    found = find(copied, artefact.record.identity)
    assert found is not None
    assert found.record.sha256 is None


def broken(change: Callable[[dict[str, Any]], None], folder: Path, script: str = "") -> Settings:
    bundle = make_bundle(folder / "bundle", configuration=change)
    (bundle / "scripts" / "parts.py").write_text(script)
    return Settings(state_dir=folder / "state", bundle={"path": bundle, "device": "cpu"})


BY_VALUE = """
class ByValue:
    def __call__(self, images, network):
        return network(images) if float(images.mean()) > 0.0001 else network(images) * 2
"""


@pytest.mark.parametrize(
    ("change", "script", "words"),
    [
        (attentive, "", "torch: no other engine can be used: 'size' has another shape"),
        (
            lambda found: found.update(inferer={"_target_": "scripts.parts.ByValue"}),
            BY_VALUE,
            "torch: no other engine can be used: 'pred' differs",
        ),
        (
            lambda found: found.update(inferer="$lambda images, network: network.missing(images)"),
            "",
            "torch: no other engine can be used: AttributeError",
        ),
    ],
)
def test_a_network_that_cannot_be_exported_stays_with_torch_in_words(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], script: str, words: str
) -> None:
    settings = broken(change, tmp_path, script)
    made = make(settings)
    assert made.record.summary.startswith(words)
    assert recorded(settings) == made
    assert usable(settings) is None


def test_nothing_is_used_where_the_settings_or_a_changed_bundle_forbid_it(
    settings: Settings, artefact: Artefact
) -> None:
    def with_(**bundle: str) -> Settings:
        return settings.model_copy(
            update={"bundle": settings.bundle.model_copy(update=dict(bundle))}
        )

    assert usable(with_(engine="torch")) is None
    assert usable(with_(device="cuda")) is None
    metadata = settings.bundle.path / "configs" / "metadata.json"
    before = metadata.read_text()
    metadata.write_text(before + "\n")
    assert usable(settings) is None
    metadata.write_text(before)
    assert usable(settings) == artefact


@pytest.mark.timeout(600)  # the export gives way to all other tests: bounds against hanging
def test_a_slow_network_is_exported_beside_the_worker_and_handed_over(
    settings: Settings, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = settings.model_copy(update={"state_dir": tmp_path / "state"})
    (tmp_path / "lobar.toml").touch()
    for name, value in {
        "CONFIG": str(tmp_path / "lobar.toml"),
        "STATE_DIR": str(fresh.state_dir),
        "BUNDLE__PATH": str(settings.bundle.path),
        "BUNDLE__DEVICE": "cpu",
    }.items():
        monkeypatch.setenv(f"LOBAR_{name}", value)  # of the command that the search starts
    EngineSearch(fresh, predictor).watch()
    predictor.note_seconds(5.0)  # the first batch prepares the network
    predictor.note_seconds(0.001)
    assert recorded(fresh) is None
    predictor.note_seconds(5.0)
    until = time.monotonic() + 500
    while predictor.engine is None and time.monotonic() < until:
        time.sleep(0.2)
    assert predictor.engine is not None
    assert usable(fresh) is not None
    wanted = Predictor(settings.bundle.path, device="cpu").predict(inputs(4))
    assert all(map(same, predictor.predict(inputs(4)), wanted))
