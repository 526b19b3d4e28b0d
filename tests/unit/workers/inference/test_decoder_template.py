"""What a worker loads before the template of its decoders is forked from it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[4]
PROGRAM: Final = """
import sys
from contextlib import closing
from unittest.mock import patch
from service.settings import BundleSettings
from workers.inference import decoders

def loaded(handler):
    print({"torch", "monai"} <= set(sys.modules))
    return open("/dev/null")

with patch.object(decoders, "Template", loaded):
    with closing(decoders.decoder_template(BundleSettings(engine=sys.argv[1]))):
        pass
"""


@pytest.mark.parametrize(("engine", "is_shared"), [("torch", True), ("auto", False)])
def test_torch_is_loaded_before_the_fork_only_where_the_worker_computes_with_it(
    engine: str, *, is_shared: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, engine],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(is_shared)
