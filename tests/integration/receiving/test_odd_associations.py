"""Associations as odd senders propose them: what DCMTK's storescp accepts is accepted."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from support.listener import RunningListener

DRIVER: Final = """
import sys; sys.path.insert(0, sys.argv[1]); port = int(sys.argv[2])
import rawscu; peer = rawscu.Peer; rawscu.Peer = lambda _: peer(port)
sys.argv = ["assoc.py"]; exec(open(sys.path[0] + "/assoc.py").read())
"""
BLANK: Final = {"calling-blank", "called-blank"}


@pytest.mark.data
@pytest.mark.slow
def test_every_hand_made_association_is_accepted_except_one_with_a_blank_title(
    listener: RunningListener, radiographs: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", DRIVER]
    command += [str(radiographs / "cases" / "wire"), str(listener.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    answers = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert len(answers) > 50
    odd = {name: answer for name, answer in answers.items() if " / RELEASE-RP" not in answer}
    tiny = {"max-pdu-1", "max-pdu-8"}  # answered in fragments, which assoc.py does not assemble
    assert {name for name in odd if name not in tiny} == BLANK
    assert all(odd[name].startswith("RJ result=1 source=1") for name in BLANK)
