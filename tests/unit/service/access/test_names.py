import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.names import (
    AccessError,
    is_possible,
    new_password,
    password_bytes,
    token_label,
    user_name,
)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("anna", "anna"),
        (" Anna.B ", "anna.b"),
        ("0", "0"),
        ("a@example.org", "a@example.org"),
        ("A_b-c", "a_b-c"),
        ("x" * 64, "x" * 64),
    ],
)
def test_a_name_has_one_form(typed: str, name: str) -> None:
    assert user_name(typed) == name


@pytest.mark.parametrize(
    "typed",
    ["", " ", ".a", "@a", "a b", "a/b", "a\0", "a\nb", "\u00e4", "x" * 65, "x" * 10**6],
    ids=lambda typed: repr(typed)[:20],
)
def test_what_is_no_name_is_refused(typed: str) -> None:
    with pytest.raises(AccessError, match="1 to 64 letters"):
        user_name(typed)


@given(st.text(max_size=200))
def test_any_text_is_a_name_in_its_form_or_refused(typed: str) -> None:
    try:
        name = user_name(typed)
    except AccessError:
        return
    assert user_name(name) == name
    assert name.isascii()


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("x" * 11, "at least 12 characters"),
        ("x" * 1025, "at most 1024 bytes"),
        ("\u20ac" * 342, "at most 1024 bytes"),
    ],
)
def test_a_password_has_its_bounds(password: str, said: str) -> None:
    with pytest.raises(AccessError, match=said):
        new_password(password)


@pytest.mark.parametrize("password", ["x" * 12, "x" * 1024, "\u20ac" * 341])
def test_a_password_within_its_bounds_is_taken_as_it_is(password: str) -> None:
    assert new_password(password) == password


@given(st.text(st.characters(), max_size=1100))
def test_any_typed_password_has_bytes_or_is_nobodys(password: str) -> None:
    assert is_possible(password) is (
        len(password) <= 1024 and len(password_bytes(password)) <= 1024
    )


@pytest.mark.parametrize("label", ["", " ", "x" * 65, "a\0b", "a\u202eb", "a\x1bb"])
def test_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(AccessError, match="printable"):
        token_label(label)


def test_a_labels_spaces_are_collapsed() -> None:
    assert token_label("  the\t PACS ") == "the PACS"
