"""A gateway that serves OHIF and an Orthanc's DICOMweb under one address on this machine.

    python deploy/viewer/gateway.py --port 3000 --orthanc http://127.0.0.1:8042

A browser allows OHIF requests to its own origin only, and Orthanc serves no viewer. The gateway
forwards GET requests only, and refuses requests whose Host is not a name of loopback.
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
REQUEST_HEADERS: Final = (
    "accept",
    "host",
)  # Orthanc builds URLs in responses from the host
RESPONSE_HEADERS: Final = ("content-type", "content-length")
POLICY: Final = {
    # a browser that applies this contacts no other host, whatever the pages are configured to do
    "Content-Security-Policy": "default-src 'self' blob: data: 'unsafe-inline' 'unsafe-eval'",
    # OHIF shares memory between its workers, which browsers allow in isolated pages only
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


def gateway(orthanc_url: str, ohif: Path = OHIF) -> Starlette:
    """Build the application: DICOMweb below /dicom-web, OHIF everywhere else."""

    @asynccontextmanager
    async def with_orthanc(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=orthanc_url, timeout=60) as orthanc:
            app.state.orthanc = orthanc
            yield

    async def page(request: Request) -> Response:
        file = _file(ohif, request.path_params["path"])
        return FileResponse(file, headers=POLICY) if file else Response(status_code=404)

    return Starlette(
        routes=[Route("/dicom-web/{path:path}", _forward_to_orthanc), Route("/{path:path}", page)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
        lifespan=with_orthanc,
    )


def _file(ohif: Path, path: str) -> Path | None:
    """Return the file of OHIF at a path, or its start page for a route of OHIF such as /viewer."""
    if path == "app-config.js":  # the one that OHIF ships names a public server
        return HERE / "app-config.js"
    file = (ohif / path).resolve()
    if file.is_relative_to(ohif.resolve()) and file.is_file():
        return file
    return None if file.suffix else ohif / "index.html"


async def _forward_to_orthanc(request: Request) -> Response:
    orthanc: httpx.AsyncClient = request.app.state.orthanc
    forwarded = orthanc.build_request(
        request.method,
        httpx.URL(path=request.url.path, query=request.url.query.encode()),
        headers={
            **{name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers},
            "accept-encoding": "identity",  # the response is forwarded unchanged
        },
    )
    try:
        response = await orthanc.send(forwarded, stream=True)
    except httpx.TransportError:
        return Response("Orthanc does not answer.", status_code=502)
    return StreamingResponse(
        response.aiter_raw(),
        response.status_code,
        {name: response.headers[name] for name in RESPONSE_HEADERS if name in response.headers},
        background=BackgroundTask(response.aclose),
    )


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="OHIF in front of an Orthanc, on loopback")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--orthanc", default="http://127.0.0.1:8042", help="Orthanc's address")
    parser.add_argument("--ohif", type=Path, default=OHIF, help="OHIF's built files")
    options = parser.parse_args()
    uvicorn.run(
        gateway(options.orthanc, options.ohif),
        host=LOOPBACK,
        port=options.port,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
