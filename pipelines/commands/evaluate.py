"""The command `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ...errors import LibraryError
from ..evaluation.options import EvaluationOptions
from ..library.progress import silent
from .console import Console
from .options import LibraryFolder, Screen, SoundName, open_library, option

if TYPE_CHECKING:
    from ..evaluation.profiling import Row
    from ..interactions.cleaning import CleaningOptions
    from ..library.store import Library

_SHOWN = {
    "recall": 20,
    "ndcg": 10,
    "pooled_ndcg": 10,
    "map": 10,
    "hit_rate": 10,
    "catalogue_coverage": 20,
    "novelty": 20,
}
"""metric -> length of lists; what fits on a terminal"""

_EXPOSURE = {
    "gini": "Gini",
    "tail_share": "tail share",
    "popularity_shift": "popularity shift",
    "popularity_js": "divergence",
}
"""metric -> how a table calls it"""

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


OPTIONS = EvaluationOptions()


def evaluate(
    *,
    library: LibraryFolder,
    options: EvaluationOptions = OPTIONS,
    sound: SoundName = None,
    out: Annotated[Path | None, option("write the JSON lines there, too")] = None,
    console: Screen,
) -> None:
    """The table of models x metrics x slices on the library's listens.

    Example: crossfade evaluate --library L --models als,content,hybrid
    """
    from ..evaluation.evaluate import evaluate as evaluate_models
    from ..evaluation.protocols import PROTOCOLS
    from ..interactions.cleaning import CleaningOptions, clean
    from ..interactions.schema import listed_ids, mixed_clocks, read_listens, to_listens

    options = replace(options, ks=tuple(sorted(set(options.ks))))
    with open_library(library) as opened:
        cleaning, log = CleaningOptions(), read_listens(opened)
        if PROTOCOLS[options.protocol].takes_cleaned:
            cleaning = _cleaning(opened, console)
            log, _ = clean(log, cleaning)
        if note := mixed_clocks(opened):
            console.message(note)
        catalogue = opened.catalogue(sound)
        users, _ = listed_ids(log)
        listens = to_listens(log, users, catalogue.track_ids, cleaning.confidence, organic=True)
    rows: list[Row] = []
    try:
        with console.bar("tuning") if options.tune else nullcontext(silent) as progress:
            for row in evaluate_models(listens, catalogue, options, message=console.message, progress=progress):
                rows.append(row)
                if console.as_json:
                    console.record(**row)
    finally:
        # What there is of an evaluation that was interrupted is shown and kept, too.
        if out is not None and rows:
            out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        if not console.as_json:
            _show(rows, console)


def _show(rows: Sequence[Row], console: Console) -> None:
    for table in (*_tables(rows), *_group_tables(rows)):
        for summary in table:
            console.record(**summary)
        if table:
            console.close()
            console.write("\n")


def _cleaning(library: Library, console: Screen) -> CleaningOptions:
    """What `train` used for the current version; the defaults where nothing is trained yet."""
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


def _tables(rows: Sequence[Row]) -> tuple[list[Row], ...]:
    """Of quality, one line per slice and model with half-widths of the intervals; of costs; of predicted ratings."""
    from ...models.recommenders.registry import REGISTRY

    quality: dict[tuple[str, str], Row] = {}
    costs: dict[str, Row] = {}
    ratings: dict[str, Row] = {}
    shown = {metric: _nearest_k(rows, k) for metric, k in _SHOWN.items()}
    several = any(row.get("seeds", 1) > 1 for row in rows)
    for row in rows:
        if "group" in row:
            continue
        metric, model, users = row["metric"], row["model"], row.get("users")
        if row["k"] is not None:
            name = f"{row['slice']} (within-user)" if row["within_user"] else row["slice"]
            line = quality.setdefault((name, model), {"slice": name, "model": model, "users": users})
            if row["k"] == shown.get(metric):
                line[f"{metric}@{row['k']}"] = _with_margin(row)
                if metric == "ndcg":
                    line |= {"options": row["tuning"]} | ({"seeds": row["seeds"]} if several else {})
                    if row.get("seed_spread") is not None:
                        line["seed spread"] = f"{row['seed_spread']:.4f}"
            if metric == "ndcg_gain" and row["k"] == shown["ndcg"] and (row["better"] or row["worse"]):
                winner, loser = (model, row["against"]) if row["better"] else (row["against"], model)
                line = quality.setdefault((name, winner), {"slice": name, "model": winner, "users": users})
                line["better than"] = ", ".join(filter(None, [line.get("better than"), loser]))
        elif row["slice"] == "cost" and metric in _COSTS:
            head, unit = _COSTS[metric]
            value = ", ".join(row["needs"]) if "needs" in row else row["value"] / unit
            costs.setdefault(model, {"model": model})[head] = value
        elif row["slice"] == "ratings":
            line = ratings.setdefault(model, {"model of ratings": model, "users": users})
            line[metric] = _with_margin(row)
            if "better" in row:
                line["against bias"] = "better" if row["better"] else "worse" if row["worse"] else "no difference shown"
    slices = list(dict.fromkeys(name for name, _ in quality))
    order = {model: place for place, model in enumerate(REGISTRY)}

    def place(at: tuple[str, str]) -> tuple[int, int]:
        return slices.index(at[0]), order.get(at[1], len(order))

    lines = [quality[at] for at in sorted(quality, key=place)]
    fits = [costs[model] for model in sorted(costs, key=lambda model: order.get(model, len(order)))]
    return lines, fits, list(ratings.values())


def _group_tables(rows: Sequence[Row]) -> tuple[list[Row], ...]:
    """One line per model: quality by group of listeners, and of tracks to find; how exposure is spread."""
    from ...models.evaluation.popularity import TRACK_GROUPS
    from ...models.recommenders.registry import REGISTRY
    from ..evaluation.slices import LISTEN_GROUPS, USER_GROUPS

    order = {model: place for place, model in enumerate(REGISTRY)}
    rows = sorted(rows, key=lambda row: order.get(row["model"], len(order)))
    divided = next((row["slice"].removesuffix(f", {row['group']}") for row in rows if "group" in row), None)
    exposure = _nearest_k(rows, 20)
    of_users, of_tracks = f"ndcg@{_nearest_k(rows, 10)}", f"recall@{exposure}"
    users: dict[str, Row] = {}
    tracks: dict[str, Row] = {}
    lists: dict[str, Row] = {}
    for row in rows:
        model, name, group = row["model"], f"{row['metric']}@{row['k']}", row.get("group")
        if group in USER_GROUPS and name == of_users:
            line = users.setdefault(model, {f"{name} of listeners": model})
            line[group.removesuffix(" listeners")] = _figure(row)
        elif group in (*TRACK_GROUPS, *LISTEN_GROUPS) and name == of_tracks:
            line = tracks.setdefault(model, {f"{name} of tracks": model})
            line[group.removesuffix(" tracks").removesuffix(" listens")] = _figure(row)
        elif row["slice"] == divided and row["metric"] in _EXPOSURE and row["k"] == exposure:
            start = {f"exposure, lists of {exposure}": model} | dict.fromkeys(_EXPOSURE.values(), "")
            line = lists.setdefault(model, start)
            line[_EXPOSURE[row["metric"]]] = _figure(row)
    return list(users.values()), list(tracks.values()), list(lists.values())


def _nearest_k(rows: Sequence[Row], target: int) -> int | None:
    """The cut-off nearest to `target`; None where no row has one."""
    from ...models.evaluation.metrics import nearest_k

    ks = {row["k"] for row in rows if row["k"] is not None}
    return nearest_k(ks, target) if ks else None


def _figure(row: Row) -> str:
    return "" if row["value"] is None else f"{row['value']:.3f}"


def _with_margin(row: Row) -> str:
    if row["value"] is None:
        return ""
    if row["low"] is None:
        return f"{row['value']:.3f}"
    margin = max(row["high"] - row["value"], row["value"] - row["low"])
    return f"{row['value']:.3f} ±{margin:.3f}"
