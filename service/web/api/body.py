"""Read a JSON body: bounded, in UTF-8, only after the sender's permission was checked.

FastAPI would read a body of any size before it asks who sends it, and answer most faults alike.
"""

import json
from collections.abc import Awaitable, Callable
from email.message import Message
from http import HTTPStatus
from typing import Any, Final

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from service.web.problem import Problem, invalid

LARGEST: Final = 64 << 10  # bytes
_JSON: Final = "application/json"
_UTF_8: Final = frozenset({"utf-8", "utf8"})


def body_of(model: type[BaseModel]) -> Any:  # noqa: ANN401 -- what FastAPI's Depends is
    """Build the dependency whose value is the body of a request, checked against a model."""
    return Depends(_reader(model))


def documented(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Return what the description of the API says about a body of this model."""
    content = {"schema": model.model_json_schema(), "example": example}
    return {"requestBody": {"required": True, "content": {_JSON: content}}}


def _reader(model: type[BaseModel]) -> Callable[[Request], Awaitable[BaseModel]]:
    async def read(request: Request) -> BaseModel:
        """Read and check the body.

        Raises:
            Problem: it is of another type, too large, not JSON, or not as the model has it.
        """
        _require_json(request.headers.get("content-type", ""))
        text = _decoded(await _whole(request))
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            raise Problem(HTTPStatus.BAD_REQUEST, "The body is not valid JSON.") from exc
        try:
            return model.model_validate(value)
        except ValidationError as exc:
            faults = exc.errors(include_url=False, include_context=False, include_input=False)
            placed = [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
            raise invalid(placed) from exc

    return read


def _require_json(content_type: str) -> None:
    message = Message()
    message["content-type"] = content_type
    charset = str(message.get_param("charset", "utf-8")).lower()
    if not content_type or message.get_content_type() != _JSON or charset not in _UTF_8:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {_JSON}, in UTF-8 (RFC 8259)."
        )


async def _whole(request: Request) -> bytes:
    content = bytearray()
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > LARGEST:
                sentence = f"At most {LARGEST:,} bytes are taken here."
                raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
    except ClientDisconnect as exc:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body breaks off.") from exc
    return bytes(content)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is not valid UTF-8.") from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # RFC 8259, section 6
