"""A gateway that serves OHIF and a DICOMweb service under one address on this machine.

    python deploy/viewer/gateway.py --port 3000 --orthanc http://127.0.0.1:8042
    python deploy/viewer/gateway.py --dicom-web http://127.0.0.1:8080/dicom-web --credentials FILE

A browser allows OHIF requests to its own origin only, and neither Orthanc nor Lobar serves a
viewer. The gateway forwards GET requests only, and refuses requests whose Host is not a name of
loopback. The file of credentials has one line, the header that names the sender to the service:
`Authorization: Bearer ...`. On the command line every user of the machine could read it.
"""

import argparse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
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
)  # Orthanc and Lobar build URLs in responses from the host
RESPONSE_HEADERS: Final = ("content-type", "content-length")
NO_CREDENTIALS: Final[Mapping[str, str]] = MappingProxyType({})
POLICY: Final = {
    # a browser that applies this contacts no other host, whatever the pages are configured to do
    "Content-Security-Policy": "default-src 'self' blob: data: 'unsafe-inline' 'unsafe-eval'",
    # OHIF shares memory between its workers, which browsers allow in isolated pages only
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


def gateway(
    dicom_web: str, ohif: Path = OHIF, credentials: Mapping[str, str] = NO_CREDENTIALS
) -> Starlette:
    """Build the application: DICOMweb below /dicom-web, OHIF everywhere else.

    Args:
        dicom_web: The address of the service, that of its /studies without that.
        ohif: OHIF's built files.
        credentials: The header that names the sender to the service, if it needs one.
    """

    @asynccontextmanager
    async def with_service(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(
            base_url=dicom_web, headers=credentials, timeout=60
        ) as service:
            app.state.service = service
            yield

    async def page(request: Request) -> Response:
        file = _file(ohif, request.path_params["path"])
        return FileResponse(file, headers=POLICY) if file else Response(status_code=404)

    return Starlette(
        routes=[Route("/dicom-web/{path:path}", _forward), Route("/{path:path}", page)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
        lifespan=with_service,
    )


def _file(ohif: Path, path: str) -> Path | None:
    """Return the file of OHIF at a path, or its start page for a route of OHIF such as /viewer."""
    if path == "app-config.js":  # the one that OHIF ships names a public server
        return HERE / "app-config.js"
    file = (ohif / path).resolve()
    if file.is_relative_to(ohif.resolve()) and file.is_file():
        return file
    return None if file.suffix else ohif / "index.html"


async def _forward(request: Request) -> Response:
    service: httpx.AsyncClient = request.app.state.service
    path = request.url.path.removeprefix("/dicom-web")
    forwarded = service.build_request(
        request.method,
        httpx.URL(path=path, query=request.url.query.encode()),
        headers={
            **{name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers},
            "accept-encoding": "identity",  # the response is forwarded unchanged
        },
    )
    try:
        response = await service.send(forwarded, stream=True)
    except httpx.TransportError:
        return Response("The DICOMweb service does not answer.", status_code=502)
    return StreamingResponse(
        response.aiter_raw(),
        response.status_code,
        {name: response.headers[name] for name in RESPONSE_HEADERS if name in response.headers},
        background=BackgroundTask(response.aclose),
    )


def _read_credentials(file: Path | None) -> Mapping[str, str]:
    """Read the one header of a file.

    Raises:
        ValueError: it has none.
    """
    if file is None:
        return NO_CREDENTIALS
    name, colon, value = file.read_text().strip().partition(":")
    if not (name and colon and value.strip().isprintable()):
        raise ValueError("the file needs one line such as `Authorization: Bearer ...`")
    return {name.strip(): value.strip()}


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="OHIF in front of DICOMweb, on loopback")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--orthanc", default="http://127.0.0.1:8042", help="Orthanc's address")
    parser.add_argument("--dicom-web", help="the address of another service, such as Lobar")
    parser.add_argument("--credentials", type=Path, help="a file with the header for that service")
    parser.add_argument("--ohif", type=Path, default=OHIF, help="OHIF's built files")
    options = parser.parse_args()
    try:
        credentials = _read_credentials(options.credentials)
    except (OSError, ValueError) as exc:
        parser.error(f"--credentials: {exc}")
    uvicorn.run(
        gateway(options.dicom_web or f"{options.orthanc}/dicom-web", options.ohif, credentials),
        host=LOOPBACK,
        port=options.port,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
