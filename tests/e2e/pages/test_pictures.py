"""Each page has its pictures, and docs/pages.md shows them; not what they show."""

from PIL import Image
from support.pages import PAGES
from support.screenshots import DOCUMENT, MOST_BYTES, PICTURES, cases_of, document, pictures_of


def test_each_page_has_small_pictures_on_both_themes(routes: set[str]) -> None:
    wanted = {file for case in cases_of(routes) for file in pictures_of(case)}
    assert len(wanted) >= 10
    assert {path.name for path in PICTURES.iterdir()} == wanted
    for file in wanted:
        path = PICTURES / file
        assert path.stat().st_size <= MOST_BYTES, file
        with Image.open(path) as picture:
            assert picture.width == (360 if file.endswith("-phone.png") else 1280), file


def test_the_two_themes_of_a_page_are_dark_and_light() -> None:
    for path in PICTURES.iterdir():
        with Image.open(path) as picture:
            corner = picture.convert("L").getpixel((2, picture.height // 2))
        assert isinstance(corner, int)
        assert (corner < 80) is (not path.name.endswith("-light.png")), path.name


def test_the_document_is_the_one_that_the_pictures_came_with(routes: set[str]) -> None:
    assert DOCUMENT.read_text() == document(cases_of(routes))
    assert all(len(case.sentence) > 20 for case in PAGES)
