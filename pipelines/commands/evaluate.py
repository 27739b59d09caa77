"""The commands of the evaluation jobs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from .console import Console
from .main import AddCommand

if TYPE_CHECKING:
    from ..evaluation.evaluate import Row
    from ..interactions.cleaning import CleaningOptions
    from ..library.store import Library

_SHOWN = (("recall", 20), ("ndcg", 10), ("map", 10), ("hit_rate", 10), ("catalogue_coverage", 20), ("novelty", 20))
"""what fits on a terminal"""

_COSTS = {
    "fit_seconds": ("fit, s", 1),
    "seconds_per_1000_users": ("s / 1,000 users", 1),
    "fit_peak_bytes": ("memory to fit, MB", 1e6),
    "bytes": ("on disk, MB", 1e6),
    "code_lines": ("lines of code", 1),
    "extra_dependencies": ("needs", 1),
    "growth_with_users": ("time ~ users^", 1),
    "growth_with_tracks": ("time ~ tracks^", 1),
}
"""metric -> how a table calls it, and its unit"""


def add_commands(add_command: AddCommand) -> None:
    parser = add_command("evaluate", "the table of models x metrics x slices on the library's listens")
    parser.add_argument("--library", required=True, type=Path, metavar="L")
    parser.add_argument(
        "--models",
        metavar="A,B,…",
        help="of als, content, hybrid (these three), bpr, mf, vae, dae, sasrec, two-tower; the baselines always",
    )
    parser.add_argument(
        "--split",
        default="auto",
        choices=("auto", "time", "user", "random"),
        help="hold out by time, each user's last, or by chance; auto takes what the log allows",
    )
    parser.add_argument("--gap", type=float, default=0.0, metavar="DAYS", help="between training and test by time (0)")
    parser.add_argument("--trials", metavar="A,B,…", help="warm, cold, listeners (all); each fits every model anew")
    parser.add_argument("--allow-seen", action="store_true", help="tracks already heard may be recommended again")
    parser.add_argument("-k", metavar="K,…", default="5,10,20,100", help="lengths of lists (5,10,20,100)")
    parser.add_argument("--sound", metavar="NAME", help="imported vectors to use as sound, where there are several")
    parser.add_argument(
        "--growth", action="store_true", help="fit smaller parts, too: how training time grows with users and tracks"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the splits and the intervals (0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON lines there, too")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace, console: Console) -> None:
    from ..evaluation.evaluate import EvaluationOptions, evaluate
    from ..interactions.cleaning import clean
    from ..interactions.schema import listed_ids, mixed_clocks, read_listens, to_listens
    from ..library.store import Library

    chosen: dict[str, Any] = {
        name: tuple(part.strip() for part in getattr(arguments, name).split(",") if part.strip())
        for name in ("models", "trials")
        if getattr(arguments, name) is not None
    }
    options = EvaluationOptions(
        split=arguments.split,
        gap_days=arguments.gap,
        allow_seen=arguments.allow_seen,
        ks=_cut_offs(arguments.k),
        seed=arguments.seed,
        growth=arguments.growth,
        **chosen,
    )
    with Library.open(arguments.library) as library:
        cleaning = _cleaning(library, console)
        log, _ = clean(read_listens(library), cleaning)
        if note := mixed_clocks(library):
            console.message(note)
        catalogue = library.catalogue(arguments.sound)
        users, _ = listed_ids(log)
        listens = to_listens(log, users, catalogue.track_ids, cleaning.confidence)
    rows = []
    for row in evaluate(listens, catalogue, options, tell=console.message):
        rows.append(row)
        if console.as_json:
            console.record(**row)
    if arguments.out is not None:
        arguments.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if not console.as_json:
        for table in (_table(rows), _cost_table(rows), _rating_table(rows)):
            for summary in table:
                console.record(**summary)
            console.close()


def _cleaning(library: Library, console: Console) -> CleaningOptions:
    """What `train` used for the current version; the defaults where nothing is trained yet."""
    from ...errors import LibraryError
    from ..interactions.cleaning import CleaningOptions

    try:
        version = library.current_version()
    except LibraryError:
        return CleaningOptions()
    file = version / "training.json"
    try:
        options = CleaningOptions.from_dict(json.loads(file.read_text())["cleaning"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LibraryError(f"{file}: missing or damaged ({error}); train again") from None
    if options != CleaningOptions():
        console.message(f"evaluate: listens cleaned and weighed as for {version.name}")
    return options


def _cut_offs(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(f"-k {text}: has to be whole numbers, such as 10 or 5,10,20") from None


def _table(rows: Sequence[Row]) -> list[Row]:
    """One line per slice and model, with half-widths of the intervals."""
    from ...models.evaluation.metrics import nearest_k

    lines: dict[tuple[str, str], Row] = {}
    ks = {row["k"] for row in rows if row["k"] is not None}
    shown = [(metric, nearest_k(ks, wanted)) for metric, wanted in _SHOWN]
    for row in rows:
        if row["k"] is None:
            continue
        name = f"{row['slice']} (within-user)" if row["within_user"] else row["slice"]
        line = lines.setdefault((name, row["model"]), {"slice": name, "model": row["model"], "users": row["users"]})
        if (row["metric"], row["k"]) in shown:
            line[f"{row['metric']}@{row['k']}"] = _with_margin(row)
        if row["metric"] == "ndcg_gain" and row["k"] == dict(shown)["ndcg"]:
            first, second = (row["model"], row["against"]) if row["better"] else (row["against"], row["model"])
            if row["better"] or row["worse"]:
                winner = lines.setdefault((name, first), {"slice": name, "model": first, "users": row["users"]})
                winner["better than"] = [*winner.get("better than", []), second]
    for line in lines.values():
        line["better than"] = ", ".join(line.get("better than", []))
    return list(lines.values())


def _cost_table(rows: Sequence[Row]) -> list[Row]:
    """One line per model."""
    lines: dict[str, Row] = {}
    for row in rows:
        if row["slice"] == "cost" and row["metric"] in _COSTS:
            head, unit = _COSTS[row["metric"]]
            value = ", ".join(row["needs"]) if "needs" in row else row["value"] / unit
            lines.setdefault(row["model"], {"model": row["model"]})[head] = value
    return list(lines.values())


def _rating_table(rows: Sequence[Row]) -> list[Row]:
    """One line per model that predicts ratings."""
    lines: dict[str, Row] = {}
    for row in rows:
        if row["slice"] == "ratings":
            line = lines.setdefault(row["model"], {"model of ratings": row["model"], "users": row["users"]})
            line[row["metric"]] = _with_margin(row)
            if "better" in row:
                line["against bias"] = "better" if row["better"] else "worse" if row["worse"] else "no difference shown"
    return list(lines.values())


def _with_margin(row: Row) -> str:
    if row["value"] is None:
        return ""
    margin = max(row["high"] - row["value"], row["value"] - row["low"])
    return f"{row['value']:.3f} ±{margin:.3f}"
