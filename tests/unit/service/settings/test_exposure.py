"""What the settings say about addresses that other machines can reach."""

from service.settings import WebSettings
from service.settings.exposure import web_fault


def test_pages_that_others_can_reach_need_users_first() -> None:
    fault = web_fault(WebSettings(host="192.0.2.1"))
    assert fault is not None
    assert "`lobar user add NAME --role ROLE`" in fault
    assert "LOBAR_WEB__ALLOW_NON_LOOPBACK=true" in fault


def test_pages_on_this_machine_and_those_that_were_allowed_may_be_served() -> None:
    assert web_fault(WebSettings(host="::1")) is None
    assert web_fault(WebSettings(host="192.0.2.1", allow_non_loopback=True)) is None
