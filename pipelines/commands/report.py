"""The command of the report."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import Console
from .main import AddCommand


def add_commands(add_command: AddCommand) -> None:
    report = add_command("report", "one HTML page about a library, its listeners and its models")
    report.add_argument("--library", required=True, type=Path, metavar="L", help="library folder")
    report.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for report.html, pictures/ and numbers/"
    )
    report.add_argument("--from", dest="first", metavar="DAY", help="first day of the period, such as 2024-01-31")
    report.add_argument("--to", dest="last", metavar="DAY", help="its last day, included")
    report.add_argument("--top", type=int, default=10, metavar="N", help="tracks to list inside each genre (10)")
    report.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="what `crossfade evaluate --out FILE` wrote (default L/evaluation.jsonl, where it is there)",
    )
    report.add_argument(
        "--genres", type=Path, metavar="M", help="a genre model of your own (`crossfade genres train`), to show it, too"
    )
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace, console: Console) -> None:
    from ...errors import UsageError
    from ..interactions.statistics import Period
    from ..library.store import Library
    from ..report.context import ReportOptions
    from ..report.page import write_report

    if arguments.top < 1:
        raise UsageError(f"--top {arguments.top}: has to be at least 1")
    if arguments.evaluation is not None and not arguments.evaluation.is_file():
        raise UsageError(f"--evaluation {arguments.evaluation}: no such file")
    options = ReportOptions(
        period=Period.of_days(arguments.first, arguments.last),
        top=arguments.top,
        evaluation=arguments.evaluation,
        genre_model=arguments.genres,
    )
    with Library.open(arguments.library) as library, console.progress() as bar:
        task = bar.add_task("report", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        written = write_report(library, arguments.out, options, progress=show)
    console.record(**written.record())
