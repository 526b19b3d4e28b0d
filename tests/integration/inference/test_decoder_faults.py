"""A decoder that sleeps, grows, segfaults or aborts costs the worker one instance."""

import ctypes
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from pydicom import dcmread
from support.inference_worker import PACS, Workspace
from synthetic.objects import make_cr

from service.decoding import Answer, DecoderPool, Template
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.settings import DecodingSettings
from workers.inference.decoders import DecodingReader

LIMITS: Final = DecodingSettings(quick_seconds=0.5, seconds=1, memory_bytes=1 << 27)
SLEEPS, GROWS, SEGFAULTS, ABORTS = 300, 310, 320, 330  # rows
EXPECTED: Final = {
    SLEEPS: Reason.DECODER_TIMEOUT,
    GROWS: Reason.DECODER_OUT_OF_MEMORY,
    SEGFAULTS: Reason.DECODER_CRASHED,
    ABORTS: Reason.DECODER_CRASHED,
}


class Double:
    """A double of a decoder: the rows of an instance say how it fails."""

    def prepare(self) -> None:
        """Need nothing."""

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        path = request["path"]
        rows = dcmread(path).Rows
        match rows:
            case 300:
                time.sleep(60)
            case 310:
                bytearray(1 << 28)
            case 320:
                ctypes.string_at(0)
            case 330:
                os.abort()
        picture = np.linspace(0, 1, rows * rows, dtype=np.float32).reshape(rows, rows)
        return Answer(values={"tones": {}}, arrays={"tensor": picture[None], "picture": picture})


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    template = Template(Double())
    yield template
    template.close()


def test_a_decoder_that_fails_costs_the_worker_one_instance(
    template: Template, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path, destinations=(PACS,))
    failing = {rows: workspace.receive(make_cr(rows=rows)) for rows in EXPECTED}
    good = [workspace.receive(make_cr(rows=200)) for _ in range(6)]
    pool = DecoderPool(template, LIMITS, 2)
    with ThreadPoolExecutor(8) as decoders:
        workspace.worker(decoders, reader=DecodingReader(pool)).infer_due()
    pool.close()
    for rows, job_id in failing.items():
        assert workspace.stands(job_id) == (JobState.NOT_ANALYSED, EXPECTED[rows])
        assert workspace.job(job_id).attempt == 1
    assert {workspace.stands(job_id) for job_id in good} == {(JobState.REPORTED, None)}
    assert workspace.ledger.queries.job_counts().balance == 0
    workspace.ledger.close()
