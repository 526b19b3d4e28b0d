from collections.abc import Iterator

import pytest
from support.pages import page_routes
from support.pages_service import PagesService, running_pages_service
from support.system.programs import need_program
from support.web_server import Web


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesService]:
    need_program("chromium")
    with running_pages_service(tmp_path_factory.mktemp("pages")) as service:
        yield service


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the routes of the application that answer with a page."""
    with Web(tmp_path_factory.mktemp("routes") / "state").running() as web:
        return page_routes(web.routes)
