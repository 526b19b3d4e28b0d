"""Ask a running service for its health over its Unix socket: for a container's health check.

Standard library only, so that it starts in a few milliseconds of a processor:
`python -P -m service.health_check SOCKET`. `lobar health` is the same, for the configured service.
"""

import argparse
import http.client
import json
import os
import socket
import sys
from pathlib import Path
from typing import Final

READY: Final = "/health/ready"
LIVE: Final = "/health/live"
_SECONDS: Final = 10.0
_OK: Final = 200


def ask(path: Path, question: str = READY, seconds: float = _SECONDS) -> tuple[int, str]:
    """Ask over a socket.

    Returns:
        The exit status, 0 where the answer is good, and a line that says it.
    """
    try:
        status, body = _get(path, question, seconds)
    except OSError as exc:
        why = "no answer in time" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)
        return 1, f"{path}: {why}. Is the service running?"
    except (http.client.HTTPException, ValueError):
        return 1, f"{path}: the answer is not that of a health check."
    if status == _OK:
        return 0, "ready" if question == READY else "live"
    missing = body.get("missing") if isinstance(body, dict) else None
    return 1, f"not ready: {'; '.join(map(str, missing or [f'HTTP {status}']))}"


def _get(path: Path, question: str, seconds: float) -> tuple[int, object]:
    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    connection.sock = _connected(path, seconds)
    try:
        connection.request("GET", question)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _connected(path: Path, seconds: float) -> socket.socket:
    """Connect through /proc, as the address of a socket has 108 bytes at most (unix(7))."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.settimeout(seconds)
    try:
        connected.connect(f"/proc/self/fd/{folder}/{path.name}")
    except OSError:
        connected.close()
        raise
    finally:
        os.close(folder)
    return connected


def main() -> int:
    """Run the check that the command line asks for."""
    parser = argparse.ArgumentParser(prog="service.health_check", description=__doc__)
    parser.add_argument("socket", type=Path, help="STATE_DIR/health.sock")
    parser.add_argument("--live", action="store_true", help="only whether it runs")
    arguments = parser.parse_args()
    status, line = ask(arguments.socket, LIVE if arguments.live else READY)
    print(line, file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
