"""A real OpenID provider: panva's oidc-provider, run by Node, and a person at a browser."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import pytest
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from support.system.programs import missing, need_program

ROOT: Final = Path(__file__).resolve().parents[2]
INSTALLED: Final = ROOT / ".cache" / "openid" / "node_modules"
PROGRAM: Final = Path(__file__).with_name("openid_provider.mjs")
SECRET: Final = "a secret: of the tests+"
PEOPLE: Final = {
    "1001": {"preferred_username": "Rosa", "groups": ["staff", "readers"]},
    "1002": {"preferred_username": "otto", "groups": ["operators"]},
    "1003": {"preferred_username": "nora", "groups": ["staff"]},
    "1004": {"preferred_username": "no name at all", "groups": "readers"},
}


class OpenIdProvider(Server):
    """A provider that knows `PEOPLE`, by the number that they type as their name."""

    def __init__(self, folder: Path, callback: str, *, in_id_token: bool) -> None:
        node = need_program("node")
        if not INSTALLED.is_dir():
            missing("no oidc-provider here: deploy/setup/openid.sh fetches it")
        port = free_port()
        self.issuer = f"http://{LOOPBACK}:{port}"
        self.callback = callback
        # Node looks for packages beside the program
        program = folder / PROGRAM.name
        program.write_bytes(PROGRAM.read_bytes())
        (folder / "node_modules").symlink_to(INSTALLED)
        variables = (
            f"CLIENT_SECRET={SECRET}",
            f"CLAIMS_IN={'id-token' if in_id_token else 'user-information'}",
        )
        # Node 18, which Debian 12 has, needs to be told; later ones take it as well
        serve = (node, "--experimental-global-webcrypto", program)
        command: list[str | Path] = [
            "env",
            *variables,
            *serve,
            str(port),
            callback,
            json.dumps(PEOPLE),
        ]
        super().__init__(
            command, log=folder / "openid.log", answers=lambda: accepts_connections(port)
        )

    def settings(self, **others: object) -> dict[str, Any]:
        """Return the section [sign_in] for this provider."""
        return {
            "openid_issuer": self.issuer,
            "openid_client_id": "lobar",
            "openid_client_secret": SECRET,
            "openid_roles": {"operators": "operator", "readers": "radiologist"},
            **others,
        }

    def sign_in(self, address: str, person: str) -> str:
        """Go through the provider's pages as a person does; return where they lead back to."""
        with httpx.Client(timeout=30) as browser:
            page = browser.get(address)
            while True:
                if page.is_redirect:
                    address = urljoin(str(page.url), page.headers["location"])
                    if address.startswith(self.callback):
                        return address
                    page = browser.get(address)
                else:
                    assert page.status_code == 200, page.text
                    page = browser.post(**_filled(str(page.url), page.text, person))


def _filled(address: str, page: str, person: str) -> Mapping[str, Any]:
    """Return the request that the only form of a page makes, with the person's name."""
    action = re.search(r'<form[^>]* action="([^"]+)"', page)
    assert action is not None, page
    values = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    if 'name="login"' in page:
        values |= {"login": person, "password": "any"}
    return {"url": urljoin(address, action[1]), "data": values}


StartProvider = Callable[..., OpenIdProvider]


@pytest.fixture
def openid_provider(tmp_path: Path) -> Iterator[StartProvider]:
    """Start a provider: `openid_provider(callback, in_id_token=True)`."""
    started: list[OpenIdProvider] = []

    def start(callback: str, *, in_id_token: bool = True) -> OpenIdProvider:
        folder = tmp_path / f"openid-{len(started)}"
        folder.mkdir()
        provider = OpenIdProvider(folder, callback, in_id_token=in_id_token)
        started.append(provider)
        provider.start()
        return provider

    yield start
    for each in started:
        each.kill()
