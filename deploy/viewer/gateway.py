"""OHIF and an Orthanc's DICOMweb under one address on this machine, to look at what is stored.

    python deploy/viewer/gateway.py --port 3000 --orthanc http://127.0.0.1:8042

A browser lets OHIF ask only the address it came from, and Orthanc serves no viewer: this does both.
It passes on questions only (GET), and answers nobody who calls it by another name than loopback's.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

LOOPBACK: Final = "127.0.0.1"
HERE: Final = Path(__file__).resolve().parent
OHIF: Final = HERE.parent.parent / ".cache" / "ohif" / "dist"
PASSED_ON: Final = ("accept", "host")  # Orthanc writes the host into the addresses it answers with
PASSED_BACK: Final = ("content-type", "content-length")
POLICY: Final = {
    # a browser that holds to this asks nobody else, whatever the pages are told to do
    "Content-Security-Policy": "default-src 'self' blob: data: 'unsafe-inline' 'unsafe-eval'",
    # OHIF shares memory between its workers, which browsers allow to isolated pages only
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


def gateway(orthanc_url: str, ohif: Path = OHIF) -> Starlette:
    """Make the application: DICOMweb below /dicom-web, OHIF everywhere else."""

    @asynccontextmanager
    async def with_orthanc(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=orthanc_url, timeout=60) as orthanc:
            app.state.orthanc = orthanc
            yield

    async def page(request: Request) -> Response:
        file = _file(ohif, request.path_params["path"])
        return FileResponse(file, headers=POLICY) if file else Response(status_code=404)

    return Starlette(
        routes=[Route("/dicom-web/{path:path}", _ask_orthanc), Route("/{path:path}", page)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
        lifespan=with_orthanc,
    )


def _file(ohif: Path, path: str) -> Path | None:
    """Give the file of OHIF at a path; its start page for its own places, as for /viewer."""
    if path == "app-config.js":  # the one that OHIF ships names a public server
        return HERE / "app-config.js"
    file = (ohif / path).resolve()
    if file.is_relative_to(ohif.resolve()) and file.is_file():
        return file
    return None if file.suffix else ohif / "index.html"


async def _ask_orthanc(request: Request) -> Response:
    orthanc: httpx.AsyncClient = request.app.state.orthanc
    question = orthanc.build_request(
        request.method,
        httpx.URL(path=request.url.path, query=request.url.query.encode()),
        headers={
            **{name: request.headers[name] for name in PASSED_ON if name in request.headers},
            "accept-encoding": "identity",  # the answer goes on as it comes
        },
    )
    try:
        answer = await orthanc.send(question, stream=True)
    except httpx.TransportError:
        return Response("Orthanc does not answer.", status_code=502)
    return StreamingResponse(
        answer.aiter_raw(),
        answer.status_code,
        {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers},
        background=BackgroundTask(answer.aclose),
    )


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="OHIF in front of an Orthanc, on loopback")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--orthanc", default="http://127.0.0.1:8042", help="Orthanc's address")
    parser.add_argument("--ohif", type=Path, default=OHIF, help="OHIF's built files")
    wanted = parser.parse_args()
    uvicorn.run(
        gateway(wanted.orthanc, wanted.ohif), host=LOOPBACK, port=wanted.port, log_level="warning"
    )


if __name__ == "__main__":
    main()
