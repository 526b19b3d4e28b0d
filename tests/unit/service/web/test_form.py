"""What a person wrote in a form, and where it leads."""

import pytest

from service.web.form import written_text
from service.web.problem import Problem
from service.web.sign_in.next_page import local_path


@pytest.mark.parametrize("path", ["/", "/status?tab=parked#top", "/jobs/" + "0" * 32, "/?q=a%20b"])
def test_a_path_of_ours_is_local(path: str) -> None:
    assert local_path(path, "/otherwise") == path


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "status",
            "//evil.example/",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
        ),
        *("https://evil.example/", "javascript:alert(1)", "/\t/evil.example", "/ /evil.example"),
        *("/a\r\nset-cookie: b=c", "/\x00", "/" + "a" * 3000, "/é", "//[", "http:/evil.example"),
    ],
)
def test_an_address_that_a_browser_may_take_for_another_host_is_not(path: str) -> None:
    assert local_path(path, "/otherwise") == "/otherwise"


def test_line_ends_are_plain_and_control_characters_are_left_out() -> None:
    fields = {"comment": " one\r\ntwo\rthree\x00\x1b[31m\u0085 "}
    assert written_text(fields, "comment", longest=100) == "one\ntwo\nthree[31m"


def test_other_alphabets_are_kept() -> None:
    assert written_text({"comment": "山田 Ö 🫁"}, "comment", longest=10) == "山田 Ö 🫁"


def test_what_is_too_short_or_too_long_is_refused_with_its_length() -> None:
    for text in ("", "123456"):
        with pytest.raises(Problem, match=f"1 to 5 characters; it has {len(text)}"):
            written_text({"reason": text}, "reason", shortest=1, longest=5)
