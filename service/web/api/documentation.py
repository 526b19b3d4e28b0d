"""What the description of the API (OpenAPI) says beyond types: errors, examples, sign-in."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path
from fastapi.encoders import jsonable_encoder
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from service.web.access import CSRF_HEADER, SESSION_COOKIE
from service.web.problem import MEDIA_TYPE
from service.web.schemas.problems import ProblemResponse

Responses = dict[int | str, dict[str, Any]]

# not `pattern`: whatever is no id is not found, in one way
JobId = Annotated[str, Path(json_schema_extra={"pattern": "^[0-9a-f]{32}$"})]
OutputKindName = Annotated[
    str, Path(json_schema_extra={"pattern": "^[a-z][a-z-]{0,31}$", "example": "sr"})
]

DICOM: Final[dict[str, Any]] = {
    "description": "The DICOM file (PS3.10).",
    "content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}},
}
_DESCRIPTION: Final = f"""\
Times are seconds since the epoch. Every error is a problem as RFC 9457 has it
(`application/problem+json`). A request names its sender by a token
(`Authorization: Bearer ...`) or by a session's cookie; with the cookie, one that changes something
must send the session's token in the header `{CSRF_HEADER}` too. While there is no user, the API is
open and shows nothing about a patient. `docs/api.md` says what is stable.
"""
_WHEN: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "The body is damaged, or not what it is said to be.",
    HTTPStatus.UNAUTHORIZED: "The sender is not known.",
    HTTPStatus.FORBIDDEN: "The sender is not permitted to do this.",
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.CONFLICT: "The state of the job does not allow it.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is of a type that is not taken.",
    HTTPStatus.MISDIRECTED_REQUEST: "The Host header names another host.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request is not valid; `errors` lists each fault.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests; `Retry-After` says when to try again.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error of Lobar's; its log has the event.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The ledger does not answer, or all decoders are busy.",
}
_GONE: Final = {HTTPStatus.GONE: "Retention removed the file."}
_FULL: Final = {HTTPStatus.INSUFFICIENT_STORAGE: "The disk is at its reserve."}


def described(success: Responses, *, gone: bool = False, stores: bool = False) -> Responses:
    """Return the responses of an operation: those of success, and every error that may come."""
    errors = {**_WHEN, **(_GONE if gone else {}), **(_FULL if stores else {})}
    return {**success, **{int(status): _problem(text) for status, text in errors.items()}}


def example(description: str, value: object, status: int = HTTPStatus.OK) -> Responses:
    """Return the response of success with an example."""
    content = {"application/json": {"example": jsonable_encoder(value)}}
    return {int(status): {"description": description, "content": content}}


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


class DescribedApplication(FastAPI):
    """An application that describes its API with its errors and security schemes."""

    def openapi(self) -> dict[str, Any]:
        """Return the description (OpenAPI 3.1), built once."""
        if self.openapi_schema is None:
            self.openapi_schema = _complete(
                get_openapi(
                    title=self.title,
                    version=self.version,
                    description=_DESCRIPTION,
                    routes=self.routes,
                )
            )
        return self.openapi_schema


def _complete(page: dict[str, Any]) -> dict[str, Any]:
    components = page.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = TypeAdapter(ProblemResponse).json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
    }
    page["security"] = [{"token": []}, {"session": []}]
    for operations in page["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
    return page


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter, which is there or not but never null."""
    kinds = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **kinds[0]} if len(kinds) == 1 else schema
