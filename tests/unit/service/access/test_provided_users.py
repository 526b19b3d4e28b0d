import pytest

from service.access.provided_users import role_of, subject_sha256
from service.domain.user import Role

ROLES = {"admins": Role.ADMIN, "readers": Role.RADIOLOGIST}


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        (["readers", "admins"], Role.ADMIN),
        (["readers", "staff"], Role.RADIOLOGIST),
        ("readers", Role.RADIOLOGIST),
        ([], None),
        ("", None),
        (None, None),
        (["Readers"], None),
        ("readers,admins", None),
        ({"readers": True}, None),
        (7, None),
        ([["admins"]], None),
    ],
)
def test_the_first_entry_of_the_mapping_that_the_claim_has_gives_the_role(
    claim: object, role: Role | None
) -> None:
    assert role_of(claim, ROLES) is role


def test_a_subject_is_one_issuers() -> None:
    first = subject_sha256("https://a.example", "1")
    assert first != subject_sha256("https://b.example", "1")
    assert first != subject_sha256("https://a.example", "2")
    assert len(first) == 64
