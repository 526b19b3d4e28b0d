"""Print radiologists' verdicts: for a person as a table, for retraining as CSV."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from service.audit.recording import record_command
from service.domain.audit import Action
from service.storage.ledger import Ledger
from service.web.verdicts.table import csv_lines


def print_verdicts(ledger: Ledger, *, since: float | None, as_csv: bool, comments: bool) -> None:
    """Print the latest verdict of each reader on each report, and record that.

    Args:
        ledger: where they are.
        since: only those of this moment or later, seconds since the epoch.
        as_csv: as CSV; otherwise as a table, with their number by opinion.
        comments: with what the readers wrote.
    """
    form = "csv" if as_csv else "table"
    record_command(
        ledger, Action.EXPORT, what="verdicts", form=form, since=since, comments=comments
    )
    if as_csv:
        for line in csv_lines(ledger, since=since, comments=comments):
            print(line, end="")  # noqa: T201 -- for programs
        return
    readers = ledger.verdicts.readers()
    latest = ledger.verdicts.latest(since)
    table = Table("job", "finding", "probability", "opinion", "right finding", "reader")
    if comments:
        table.add_column("comment")
    for each in latest:
        said = (each.finding, f"{each.probability:.3f}", str(each.opinion))
        row = (each.job_id[:8], *said, each.right_finding or "", readers[each.user])
        table.add_row(*row, *([each.comment] if comments else []))
    console = Console(markup=False)
    console.print(table)
    counted = Counter(each.opinion for each in latest)
    console.print(", ".join(f"{count} {name}" for name, count in sorted(counted.items())) or "none")
