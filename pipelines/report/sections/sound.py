"""The section on sound: a map of the library, typical and odd tracks, loudness, tempo, and failures.

Shapes: T tracks with sound, D dimensions of a sound vector.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ....errors import AudioError, LibraryError
from ....models.analysis.projection import flat_map
from ....models.arrays import Floats, l2_normalize
from ...charts.chart import Chart
from ...library.scan import readable
from ..context import ReportData
from ..exhibits import Exhibit, Gallery, Gap, Table
from .genre_trends import DRAWN, REST, taste_clusters, typical_of_groups

MAPPED_TRACKS = 2_000
"""more points than this only cover each other, and take long to lay out"""
TASTES = 6
GALLERY_GENRES = 6
_SPECTROGRAM_SECONDS = 6


def exhibits(data: ReportData) -> Iterator[Exhibit]:
    if names := data.library.vector_names():
        catalogue = data.library.catalogue(names[0])
        rows = np.flatnonzero(catalogue.has_sound)
        vectors = l2_normalize(catalogue.sound[rows])
        yield from _maps(data, rows, vectors)
        yield _gallery(data, rows, vectors)
        yield from _descriptions(data)
    else:
        yield Gap("Sound", "no audio was heard and no vectors were imported", "crossfade embed FOLDER")
    reasons = data.library.failures()
    failures = pl.DataFrame({"file": [readable(file.path) for file in reasons], "reason": list(reasons.values())})
    title = "Files that could not be read"
    if len(failures):
        yield Table(name="failures", title=title, frame=failures, note=f"{len(failures):,} files.", rows_shown=15)
    else:
        yield Gap(title, "every file was read", clear=True)


def _maps(data: ReportData, rows: NDArray[np.intp], vectors: Floats) -> Iterator[Exhibit]:
    chosen = _mapped(data, rows)
    if len(chosen) < 2:
        yield Gap("A map of the library", "that takes two tracks with sound")
        return
    positions, _ = flat_map(vectors[chosen], method="tsne")
    points = {"track_row": rows[chosen], "x": positions[:, 0], "y": positions[:, 1]}
    kinds = data.kinds.rename({data.kind: "kind"}).group_by("track_row", maintain_order=True).first()
    frame = pl.DataFrame(points, {"track_row": pl.Int32, "x": pl.Float64, "y": pl.Float64})
    frame = data.named(frame.join(kinds, on="track_row", how="left", maintain_order="left"))
    sizes = frame.drop_nulls("kind").group_by("kind").len().sort("len", "kind", descending=[True, False])
    common = sizes.head(DRAWN).get_column("kind").to_list()
    known = pl.when(pl.col("kind").is_in(common)).then("kind").otherwise(pl.lit(REST))
    colours = pl.Enum([*common, REST, "unknown"])
    colour = pl.when(pl.col("kind").is_null()).then(pl.lit("unknown")).otherwise(known)
    lines = ["title", "artist", *(["kind"] if data.kind == "genre" else [])]
    label = pl.concat_str([pl.col(lines).fill_null("")], separator="\n").str.strip_chars_end("\n")
    frame = frame.with_columns(label=label, colour=colour).sort(pl.col("colour").cast(colours), maintain_order=True)
    note = "Near tracks sound alike; directions mean nothing."
    if len(chosen) < len(rows):
        note += f" {len(chosen):,} of {len(rows):,} tracks: the most played, and some by chance."
    yield _map("sound_map", f"A map of the library, by {data.kind}", frame, note)
    tastes = _tastes(data)
    if tastes is None:
        yield Gap("The map by taste", "nothing was trained yet", "crossfade train --library L")
        return
    by_taste = frame.with_columns(
        colour=pl.col("track_id").replace_strict(tastes, default="no taste known", return_dtype=pl.String)
    )
    note = f"The same places; colours are clusters of taste vectors, named by the {data.kind}s they have more of."
    yield _map("taste_map", "The same map, by taste", by_taste.sort("colour", maintain_order=True), note)


def _map(name: str, title: str, frame: pl.DataFrame, note: str) -> Chart:
    return Chart(
        name=name,
        title=title,
        frame=frame.select("track_id", "x", "y", "colour", "label"),
        kind="points",
        x="x",
        y="y",
        series="colour",
        text="label",
        plain_axes=True,
        note=note,
    )


def _mapped(data: ReportData, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions in `rows`: all, or the most played half and the rest by chance."""
    if len(rows) <= MAPPED_TRACKS:
        return np.arange(len(rows))
    position = {row: n for n, row in enumerate(rows.tolist())}
    played = [] if data.log is None else data.log.tracks.get_column("track_row").to_list()
    first = [position[row] for row in played if row in position][: MAPPED_TRACKS // 2]
    others = np.setdiff1d(np.arange(len(rows)), first)
    rest = np.random.default_rng(0).permutation(others)[: MAPPED_TRACKS - len(first)]
    return np.sort(np.concatenate([np.array(first, np.intp), rest]))


def _tastes(data: ReportData) -> dict[str, str] | None:
    """Track id -> the cluster of its taste vector, by number and typical genres; None where no version is trained."""
    try:
        trained = data.trained
    except LibraryError:
        return None
    taste, known = trained.hybrid.taste, np.flatnonzero(trained.hybrid.known)
    count = min(TASTES, len(known))
    if count < 2:
        return None
    ids = np.array(trained.track_ids, object)[known].tolist()
    placed = pl.DataFrame({"track_id": ids, "group": taste_clusters(taste[known], count)})
    placed = placed.filter(pl.col("group") >= 0)
    kinds = data.kinds.join(data.names.select("track_row", "track_id"), on="track_row")
    counts = placed.join(kinds, on="track_id").group_by("group", data.kind).agg(count=pl.len())
    names = {group: f"{group + 1}: {name}" for group, name in typical_of_groups(counts, data.kind).items()}
    return {track_id: names.get(group, f"taste {group + 1}") for track_id, group in placed.iter_rows()}


# -- typical and odd -----------------------------------------------------------------------------------------------


def _gallery(data: ReportData, rows: NDArray[np.intp], vectors: Floats) -> Exhibit:
    """For the largest genres, the track nearest to the genre's mean and the one farthest from it."""
    paths = data.library.paths()
    position = {row: n for n, row in enumerate(rows.tolist())}
    with_files = data.tracks.filter(pl.col("track_id").is_in(list(paths)) & pl.col("track_row").is_in(list(position)))
    candidates = data.genres.join(with_files, on="track_row", how="semi", maintain_order="left")
    sizes = candidates.group_by("genre").len().filter(pl.col("len") >= 3)
    if not len(sizes):
        return Gap("Typical and odd tracks", "there are no audio files with genres, or too few of any genre")
    picked = []
    for genre in sizes.sort("len", "genre", descending=[True, False]).get_column("genre").head(GALLERY_GENRES):
        members = candidates.filter(pl.col("genre") == genre).get_column("track_row").to_list()
        points = vectors[[position[row] for row in members]]
        nearness = points @ points.mean(axis=0)
        for kind, at in (("typical", int(nearness.argmax())), ("odd", int(nearness.argmin()))):
            picked.append((genre, kind, members[at], float(nearness[at])))
    schema = {"genre": pl.String, "kind": pl.String, "track_row": pl.Int32, "nearness": pl.Float64}
    frame = data.named(pl.DataFrame(picked, schema=schema, orient="row"))
    images = [
        (f"{row['genre']}, {row['kind']}\n{row['title']} · {row['artist']}", png)
        for row in frame.iter_rows(named=True)
        if (png := _spectrogram(Path(os.fsdecode(paths[row["track_id"]])))) is not None
    ]
    if not images:
        return Gap("Typical and odd tracks", "the audio files are not where they were when they were heard")
    return Gallery(
        name="gallery",
        title="Typical and odd tracks of each genre",
        images=images,
        frame=frame.drop("track_row"),
        note=f"{_SPECTROGRAM_SECONDS} seconds from the middle: time to the right, pitch upwards, bright is loud.",
    )


def _spectrogram(path: Path) -> bytes | None:
    """A PNG of the log-mel spectrogram; None where the file is gone or cannot be read any more."""
    from matplotlib import image

    from ....audio.decoding import Recording
    from ....audio.log_mel import LogMel

    mel = LogMel()
    try:
        with Recording(path, mel.sample_rate) as recording:
            length = _SPECTROGRAM_SECONDS * mel.sample_rate
            start = max(0, int(recording.duration_seconds * mel.sample_rate) // 2 - length // 2)
            clip = recording.clip(start, length)
    except (AudioError, OSError):
        return None
    if len(clip.samples) < mel.fft_samples:
        return None
    picture = mel(clip.samples[None])[0][::2].T
    out = io.BytesIO()
    image.imsave(out, np.flipud(picture), cmap="magma", format="png")
    return out.getvalue()


# -- loudness and tempo --------------------------------------------------------------------------------------------


def _descriptions(data: ReportData) -> Iterator[Exhibit]:
    described = data.library.loudness_and_tempo()
    if not len(described):
        yield Gap("Loudness and tempo", "these vectors were imported; only heard audio has them")
        return
    for name, title, unit, width in (
        ("loudness_lufs", "How loud are tracks?", "LUFS", 1.0),
        ("tempo_bpm", "How fast are tracks?", "beats a minute", 5.0),
    ):
        values = described.get_column(name).drop_nulls()
        if not len(values):
            yield Gap(title.removesuffix("?"), "it was found for no track")
            continue
        missing = len(described) - len(values)
        without = f" Not found for {missing:,} of {len(described):,} tracks." if missing else ""
        low = ((values / width).floor() * width).alias("low")
        yield Chart(
            name=name,
            title=title,
            frame=low.value_counts(name="tracks").sort("low").with_columns(middle=pl.col("low") + width / 2),
            kind="bar",
            x="middle",
            y="tracks",
            x_title=unit,
            note=f"Half of them at most {float(str(values.median())):.0f} {unit}.{without}",
        )
