"""Send instances: DICOM, PNG or JPEG files, as a form with files does."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response

from service.domain.user import Permission
from service.web.access import require
from service.web.api.documentation import described, example
from service.web.api.examples import UPLOAD
from service.web.problem import Problem
from service.web.schemas.uploads import UploadedResponse, UploadResponse
from service.web.uploading.recording import RecordedUploads
from service.web.uploading.uploads import Uploaded

MULTIPART: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    }
}
_OUTCOMES: Final = {
    **example("At least one instance is new.", UPLOAD, HTTPStatus.CREATED),
    **example("All instances were received before.", UPLOAD, HTTPStatus.OK),
    **example("Some files were refused.", UPLOAD, HTTPStatus.MULTI_STATUS),
}
_SCHEMA: Final = {"model": UploadResponse}


def router(uploads: RecordedUploads) -> APIRouter:
    """Build the route of uploads."""
    routes = APIRouter(tags=["uploads"], dependencies=[require(Permission.UPLOAD)])

    @routes.post(
        "/instances",
        operation_id="uploadInstances",
        summary="Send one or more files",
        status_code=HTTPStatus.CREATED,
        responses=described(
            {key: {**_SCHEMA, **value} for key, value in _OUTCOMES.items()}, stores=True
        ),
        openapi_extra=MULTIPART,
    )
    async def _instances(request: Request, response: Response) -> UploadResponse:
        outcomes = await uploads.receive(request)
        response.status_code = int(status_of(outcomes))
        return UploadResponse(instances=list(map(UploadedResponse.of, outcomes)))

    return routes


def status_of(outcomes: list[Uploaded]) -> HTTPStatus:
    """Return 201 with a new instance, 200 when all are known, 207 with a refused one.

    Raises:
        Problem: the only file was refused.
    """
    problems = [each.result for each in outcomes if isinstance(each.result, Problem)]
    if problems and len(outcomes) == 1:
        raise problems[0]
    if problems:
        return HTTPStatus.MULTI_STATUS
    known = [not isinstance(each.result, Problem) and each.result.repeated for each in outcomes]
    return HTTPStatus.OK if all(known) else HTTPStatus.CREATED
