"""Query and retrieve over DICOMweb: QIDO-RS as plain values, WADO-RS as bytes."""

from collections.abc import Sequence
from email import message_from_bytes, policy
from typing import Any, Final, cast

import httpx

DICOM_FILES: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def query(url: str, level: str, client: httpx.Client | None = None, **keys: str) -> list[Any]:
    """Search with QIDO-RS; `level` is a path such as `studies`."""
    found = _get(client, f"{url}/{level}", "application/dicom+json", keys)
    return list(found.json()) if found.content else []


def values(found: Sequence[dict[str, Any]], tag: str) -> list[Any]:
    """Return the first value of an element in each result."""
    return [each[tag]["Value"][0] for each in found]


def retrieve(url: str, path: str, client: httpx.Client | None = None) -> list[bytes]:
    """Fetch DICOM files with WADO-RS; `path` begins with `studies/`."""
    response = _get(client, f"{url}/{path}", DICOM_FILES)
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + response.content, policy=policy.HTTP).iter_parts()
    return [cast("bytes", part.get_payload(decode=True)) for part in parts]


def _get(
    client: httpx.Client | None, url: str, accept: str, params: dict[str, str] | None = None
) -> httpx.Response:
    get = httpx.get if client is None else client.get
    return get(url, headers={"Accept": accept}, params=params or {}).raise_for_status()
