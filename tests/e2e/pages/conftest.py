from collections.abc import Iterator

import pytest
from support.pages_service import PagesService, running_pages_service
from support.system.programs import need_program


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesService]:
    need_program("chromium")
    with running_pages_service(tmp_path_factory.mktemp("pages")) as service:
        yield service
