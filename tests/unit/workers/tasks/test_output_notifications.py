"""When the deliver worker is notified of the outputs of reports that are made at the same time."""

from contextlib import ExitStack

import pytest

from workers.tasks.output_notifications import MOST_TOGETHER, OutputNotifications


@pytest.fixture
def sent() -> list[str]:
    """The names of the destinations that were notified, in their order."""
    return []


@pytest.fixture
def notifications(sent: list[str]) -> OutputNotifications:
    return OutputNotifications(sent.append)


def test_a_report_made_alone_is_announced_when_it_is_done(
    notifications: OutputNotifications, sent: list[str]
) -> None:
    for count in (1, 2, 3):
        with notifications.report() as are_due:
            are_due(["pacs"])
            assert len(sent) == count - 1  # its outputs are due when the block ends
        assert sent == ["pacs"] * count


def test_reports_made_at_the_same_time_are_announced_together(
    notifications: OutputNotifications, sent: list[str]
) -> None:
    with notifications.report() as first_are_due:
        first_are_due(["pacs", "archive"])
        with notifications.report() as second_are_due:
            second_are_due(["pacs"])
        assert sent == []
    assert sent == ["archive", "pacs"]


def test_the_outputs_of_a_report_wait_for_a_few_others_at_most(
    notifications: OutputNotifications, sent: list[str]
) -> None:
    with ExitStack() as stack:
        stack.enter_context(notifications.report())  # takes longer than all others
        for _ in range(MOST_TOGETHER - 1):
            with notifications.report() as are_due:
                assert sent == []
                are_due(["pacs"])
        assert sent == []
        with notifications.report() as are_due:
            are_due(["pacs"])
        assert sent == ["pacs"]
    assert sent == ["pacs"]


def test_a_report_that_fails_holds_back_no_other(
    notifications: OutputNotifications, sent: list[str]
) -> None:
    def fail() -> None:
        with notifications.report():
            with notifications.report() as are_due:
                are_due(["pacs"])
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert sent == ["pacs"]
    with notifications.report() as are_due:
        are_due(["pacs"])
    assert sent == ["pacs", "pacs"]


def test_a_report_for_no_destination_notifies_none(
    notifications: OutputNotifications, sent: list[str]
) -> None:
    with notifications.report() as are_due:
        are_due([])
    assert sent == []
