"""The page on which administrators add users and change what they may do."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.access.names import AccessError, new_password, user_name
from service.access.passwords import Passwords
from service.domain.audit import Action
from service.domain.user import PERMISSIONS, Permission, Role
from service.storage.ledger import Ledger
from service.storage.ledger.access.users import UserError
from service.web.access import read_form, require
from service.web.problem import Problem, not_found
from service.web.render import render, zone
from service.web.trail import Trail

Form = dict[str, list[str]]
Change = Callable[[str, Form], None]
_LONGEST_NAME: Final = 64


def router(ledger: Ledger, hashes: Passwords, trail: Trail) -> APIRouter:
    """Build the routes of the users; each needs the permission to administer."""
    routes = APIRouter(
        prefix="/users",
        include_in_schema=False,
        dependencies=[require(Permission.ADMINISTER, person=True)],
    )

    @routes.get("")
    def _users(request: Request) -> Response:
        now = ledger.now()
        values = {
            "users": ledger.users.all(),
            "sessions": ledger.sessions.counts(),
            "tokens": Counter(each.user_name for each in ledger.api_tokens.of()),
            "roles": {role: sorted(PERMISSIONS[role]) for role in Role},
            "now": now,
            "zone": zone(now),
        }
        return render(request, "users.html", values)

    def _add(request: Request, form: Form) -> Response:
        name, role = _name(_field(form, "name")), _role(form)
        password = _field(form, "password")
        password_hash = hashes.hash(_new_password(password)) if password else None
        _or_conflict(lambda: ledger.users.add(name, role, password_hash))
        trail.record(request, Action.USER, user=name, change="add", new_role=str(role))
        return _back()

    @routes.post("")
    async def _post(request: Request) -> Response:
        return await to_thread.run_sync(partial(_add, request, await read_form(request)))

    def _set_password(name: str, form: Form) -> None:
        ledger.users.set_password(name, hashes.hash(_new_password(_field(form, "password"))))

    changes: dict[str, Change] = {
        "role": lambda name, form: _none(ledger.users.set_role(name, _role(form))),
        "password": _set_password,
        "disable": lambda name, _: ledger.users.disable(name),
        "enable": lambda name, _: ledger.users.enable(name),
        "end-sessions": lambda name, _: _none(ledger.sessions.end_all(name)),
        "revoke-tokens": lambda name, _: _none(ledger.api_tokens.revoke_all(name)),
    }

    def _change(request: Request, name: str, change: str, form: Form) -> Response:
        if len(name) > _LONGEST_NAME or "\0" in name or ledger.users.find(name) is None:
            raise not_found("user")
        _or_conflict(lambda: changes[change](name, form))
        action = Action.TOKEN if change == "revoke-tokens" else Action.USER
        role = _field(form, "role") if change == "role" else None
        trail.record(request, action, user=name, change=change, new_role=role)
        return _back()

    def _route(change: str) -> None:
        @routes.post(f"/{{name}}/{change}")
        async def _post_change(request: Request, name: str) -> Response:
            make = partial(_change, request, name, change, await read_form(request))
            return await to_thread.run_sync(make)

    for each in changes:
        _route(each)
    return routes


def _back() -> Response:
    return RedirectResponse("/users", HTTPStatus.SEE_OTHER)


def _none(_: object) -> None:
    """Drop a value that is not shown."""


def _field(form: Form, name: str) -> str:
    return form.get(name, [""])[0]


def _or_conflict(change: Callable[[], object]) -> None:
    try:
        change()
    except UserError as exc:
        raise Problem(HTTPStatus.CONFLICT, str(exc)) from exc


def _name(given: str) -> str:
    try:
        return user_name(given)
    except AccessError as exc:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from exc


def _new_password(given: str) -> str:
    try:
        return new_password(given)
    except AccessError as exc:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from exc


def _role(form: Form) -> Role:
    try:
        return Role(_field(form, "role"))
    except ValueError as exc:
        roles = ", ".join(Role)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"A role is one of: {roles}.") from exc
