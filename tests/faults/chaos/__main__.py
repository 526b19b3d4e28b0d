"""Run the whole service under a seeded schedule of faults, and judge it from outside.

    PYTHONPATH=tests .venv/bin/python -m faults.chaos --seconds 120 --seed 7

`make chaos` is the short form. The exit status is 0 if nothing is wrong, 1 if something is, and 2
if the run did not come to an end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import pytest
from faults.chaos.run import StandstillError, run
from faults.chaos.schedule import LONGEST_MEAN, Kind, Plan, make_plan
from faults.chaos.summary import as_json, as_table

INSTANCES_PER_SECOND: Final = 8
IN_NAMESPACE: Final = "--in-namespace"


def main() -> int:
    """Run one plan, print what came of it, and return the exit status."""
    options = _options()
    if not options.in_namespace and os.geteuid() == 0:
        _enter_namespace()
    kinds = [Kind(name) for name in (options.kinds.split(",") if options.kinds else Kind)]
    plan = make_plan(
        seed=options.seed,
        seconds=options.seconds,
        instances=options.instances or round(INSTANCES_PER_SECOND * options.seconds),
        database=options.database,
        every=options.every,
        kinds=[kind for kind in kinds if kind not in (options.without or "").split(",")],
    )
    print("\n".join(plan.lines()), flush=True)
    print(f"to run it again: {_command(plan)}", flush=True)
    if options.plan:
        return 0
    with tempfile.TemporaryDirectory(prefix="lobar-chaos-", ignore_cleanup_errors=True) as name:
        return _run(plan, Path(name), options)


def _run(plan: Plan, folder: Path, options: argparse.Namespace) -> int:
    try:
        outcome = run(plan, folder, _say)
    except StandstillError as exc:
        print(f"\nWRONG: {exc}\n", "\n".join(plan.lines()), _command(plan), sep="\n", flush=True)
        _keep_log(folder, options.log)
        return 2
    except (pytest.skip.Exception, pytest.fail.Exception) as exc:
        print(f"cannot run here: {exc}")
        return 2
    if options.output:
        Path(options.output).write_text(as_json(outcome))
    _keep_log(folder, options.log)
    if outcome.faults:
        print("\n".join(plan.lines()))
    print(as_table(outcome), flush=True)
    return 1 if outcome.faults else 0


def _keep_log(folder: Path, name: str | None) -> None:
    log = folder / "lobar.log"
    if name and log.exists():
        Path(name).write_bytes(log.read_bytes())


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def _command(plan: Plan) -> str:
    return (
        f"make chaos SECONDS={plan.seconds:g} SEED={plan.seed} INSTANCES={plan.instances} "
        f"DATABASE={plan.database} EVERY={plan.every:g} KINDS={','.join(plan.kinds)}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=120, help="of faults (120)")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule (1)")
    parser.add_argument("--instances", type=int, help="to send (8 for each second)")
    parser.add_argument(
        "--every", type=float, default=LONGEST_MEAN, help="seconds between faults, at most (3)"
    )
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--kinds", help="of faults, with commas between them (all)")
    parser.add_argument("--without", help="these kinds of faults, with commas between them")
    parser.add_argument("--output", help="a file for the result as JSON")
    parser.add_argument("--log", help="a file for the log of the service")
    parser.add_argument("--plan", action="store_true", help="print the schedule and run nothing")
    parser.add_argument(IN_NAMESPACE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _enter_namespace() -> None:
    """Start anew where file systems are mounted for this run alone, if the kernel lets us."""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return
    command = [*unshare, sys.executable, "-m", "faults.chaos", IN_NAMESPACE, *sys.argv[1:]]
    os.execvp(unshare[0], command)  # noqa: S606 -- without a shell, as wanted


if __name__ == "__main__":
    sys.exit(main())
