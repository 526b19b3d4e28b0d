"""Objects sent to a PACS whose answers are odd: what DCMTK's storescu accepts is accepted."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.system.ports import LOOPBACK, accepts_connections, free_port
from synthetic.objects import make_sc

from service.settings import DimseDestination
from workers.delivery.dimse import associate


@pytest.mark.data
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    "manner",
    [
        *("ac-aet-blank", "ac-aet-nul", "ac-app-nul", "ts-nul", "omit-rejected"),
        *("max-0", "max-512", "ver-20", "ver-nul", "ver-empty", "ver-latin1", "unknown-item"),
        *("no-userinfo", "no-impl", "role-unasked", "async"),
        *("rej-no-ts", "rej-empty-ts", "rej-nul-ts", "rej-uid-other"),
        *("rsp-no-uids", "rsp-no-group-length", "rsp-fragmented"),
    ],
)
def test_an_object_reaches_an_odd_pacs(
    manner: str,
    direct: bool,  # noqa: FBT001 -- pytest passes by name
    tmp_path: Path,
    radiographs: Path,
) -> None:
    dataset = make_sc(rows=8, columns=8)
    dataset.save_as(tmp_path / "sc.dcm", enforce_file_format=True)
    port = free_port()
    script = radiographs / "cases" / "wire" / "acpacs.py"
    pacs = subprocess.Popen([sys.executable, script, str(port), manner], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not accepts_connections(port) and time.monotonic() < until:
            time.sleep(0.02)
        destination = DimseDestination(name="pacs", ae_title="PACS", host=LOOPBACK, port=port)
        with associate(destination, "LOBAR", [dataset.SOPClassUID], direct=direct) as sender:
            assert sender.send(tmp_path / "sc.dcm").taken
    finally:
        pacs.kill()
        pacs.wait()
