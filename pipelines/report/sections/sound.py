"""The chapter on sound: a map of the library, typical and odd tracks, near-duplicates, loudness, tempo, and failures.

Shapes: T tracks with sound, D dimensions of a sound vector.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ....errors import AudioError, LibraryError, MissingExtra
from ....models.analysis.segments import SegmentOptions, Segments
from ....models.encoders.base import Floats
from ...charts.interactive import Chart, Exhibit, Gallery, Gap, Section, Table
from ...library.scan import readable
from ..context import Subject
from .genre_trends import typical

MAPPED_TRACKS = 2_000
"""more points than this only cover each other, and take long to lay out"""
TASTES = 6
GALLERY_GENRES = 6
_SPECTROGRAM_SECONDS = 6
SAME_COSINE = 0.995
"""above it two tracks are one recording in two files, or nearly so"""


def sound_section(subject: Subject) -> Section:
    lead = "How the library sounds: what lies near what, what is typical, what stands out, and what is there twice."
    exhibits: list[Exhibit] = []
    names = subject.library.vector_names()
    if not names:
        exhibits.append(Gap("Sound", "no audio was heard and no vectors were imported", "crossfade embed FOLDER"))
    else:
        catalogue = subject.library.catalogue(names[0])
        rows = np.flatnonzero(catalogue.has_sound)
        vectors = catalogue.sound[rows] / np.linalg.norm(catalogue.sound[rows], axis=1, keepdims=True)
        exhibits += _maps(subject, rows, vectors)
        exhibits += _gallery(subject, rows, vectors)
        exhibits.append(_duplicates(subject, rows, vectors))
        exhibits += _descriptions(subject)
    exhibits.append(_failures(subject))
    return Section("sound", "Sound", lead, tuple(exhibits))


def layout(vectors: Floats, *, seed: int = 0) -> NDArray[np.float64]:
    """[T, 2] places on a map where neighbours in sound are neighbours (t-SNE over the first 32 principal components).

    With fewer than five tracks there is no neighbourhood, and the map is the first two components.
    """
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    components = left[:, :32] * sizes[:32]
    if len(vectors) < 5:
        return np.asarray(np.pad(components, ((0, 0), (0, 2)))[:, :2], np.float64)
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingExtra("the map", "train") from error
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    start = components[:, :2] if components.shape[1] > 1 else np.pad(components, ((0, 0), (0, 1)))
    start = 1e-4 * start / max(float(start[:, 0].std()), 1e-12)
    places = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=seed, max_iter=500, n_jobs=1)
    return np.asarray(places.fit_transform(components.astype(np.float32)), np.float64)


def _maps(subject: Subject, rows: NDArray[np.intp], vectors: Floats) -> list[Exhibit]:
    chosen = _mapped(subject, rows)
    if len(chosen) < 2:
        return [Gap("A map of the library", "that takes two tracks with sound")]
    places = layout(vectors[chosen])
    frame = pl.DataFrame({"track_row": rows[chosen].astype(np.int32), "x": places[:, 0], "y": places[:, 1]})
    kinds = subject.kinds.rename({subject.kind: "kind"}).group_by("track_row", maintain_order=True).first()
    frame = frame.join(kinds, on="track_row", how="left", maintain_order="left")
    frame = frame.join(subject.names, on="track_row", how="left", maintain_order="left")
    common = frame.get_column("kind").drop_nulls().value_counts(sort=True).head(9).get_column("kind").to_list()
    known = pl.when(pl.col("kind").is_in(common)).then("kind").otherwise(pl.lit("all others"))
    colour = pl.when(pl.col("kind").is_null()).then(pl.lit("unknown")).otherwise(known)
    order = {name: n for n, name in enumerate([*common, "all others", "unknown"])}
    lines = ["title", "artist", *(["kind"] if subject.kind == "genre" else [])]
    label = pl.concat_str([pl.col(lines).fill_null("")], separator="<br>")
    frame = frame.with_columns(colour=colour, label=label.str.replace_all("(<br>)+$", ""))
    frame = frame.sort(pl.col("colour").replace_strict(order, return_dtype=pl.Int32), maintain_order=True)
    note = "Near tracks sound alike; directions mean nothing."
    if len(chosen) < len(rows):
        note += f" {len(chosen):,} of {len(rows):,} tracks: the most played, and some by chance."
    columns = ["track_id", "x", "y", "colour", "label"]
    charts: list[Exhibit] = [
        _map("sound_map", f"A map of the library, by {subject.kind}", frame.select(columns), note),
    ]
    tastes = _tastes(subject, frame.get_column("track_id").to_list())
    if tastes is None:
        return [*charts, Gap("The map by taste", "nothing was trained yet", "crossfade train --library L")]
    by_taste = frame.with_columns(colour=pl.Series(tastes)).sort("colour", maintain_order=True)
    note = f"The same places; colours are clusters of taste vectors, named by the {subject.kind}s they have more of."
    return [*charts, _map("taste_map", "The same map, by taste", by_taste.select(columns), note)]


def _map(name: str, title: str, frame: pl.DataFrame, note: str) -> Chart:
    return Chart(
        name=name,
        title=title,
        frame=frame,
        kind="points",
        x="x",
        y="y",
        series="colour",
        text="label",
        plain_axes=True,
        note=note,
    )


def _mapped(subject: Subject, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions in `rows`: all, or the most played half and the rest by chance."""
    if len(rows) <= MAPPED_TRACKS:
        return np.arange(len(rows))
    position = {row: n for n, row in enumerate(rows.tolist())}
    played = [] if subject.log is None else subject.log.tracks.get_column("track_row").to_list()
    first = [position[row] for row in played if row in position][: MAPPED_TRACKS // 2]
    others = np.setdiff1d(np.arange(len(rows)), first)
    rest = np.random.default_rng(0).permutation(others)[: MAPPED_TRACKS - len(first)]
    return np.sort(np.concatenate([np.array(first, np.intp), rest]))


def _tastes(subject: Subject, track_ids: list[str]) -> list[str] | None:
    """The kinds of listening of these tracks, by number and typical genres; None where no version is trained."""
    from ...versions.model_version import ModelVersion

    try:
        trained = ModelVersion.load(subject.library)
    except LibraryError:
        return None
    taste, known = trained.hybrid.taste, trained.hybrid.known
    count = min(TASTES, int(known.sum()))
    if count < 2:
        return None
    sample = np.flatnonzero(known)[:: max(1, int(known.sum()) // 5_000)]
    clusters = Segments(SegmentOptions(count=count)).fit(taste[sample]).assign(taste)
    placed = pl.DataFrame({"track_id": list(trained.track_ids), "group": clusters}).filter(
        pl.Series(known) & (pl.col("group") >= 0)
    )
    told = subject.kinds.join(subject.names.select("track_row", "track_id"), on="track_row")
    counts = placed.join(told, on="track_id").group_by("group", subject.kind).agg(count=pl.len())
    kinds = typical(counts, subject.kind)
    names = {
        track_id: f"{group + 1}: {kinds[group]}" if group in kinds else f"taste {group + 1}"
        for track_id, group in placed.iter_rows()
    }
    return [names.get(track_id, "no taste known") for track_id in track_ids]


# -- typical and odd -----------------------------------------------------------------------------------------------


def _gallery(subject: Subject, rows: NDArray[np.intp], vectors: Floats) -> list[Exhibit]:
    """For the largest genres, the track nearest to the genre's mean and the one farthest from it."""
    position = {row: n for n, row in enumerate(rows.tolist())}
    with_files = subject.tracks.filter(pl.col("path").is_not_null()).get_column("track_row")
    there = subject.genres.filter(
        pl.col("track_row").is_in(with_files.implode()) & pl.col("track_row").is_in(list(position))
    )
    sizes = there.group_by("genre").len().filter(pl.col("len") >= 3).sort("len", "genre", descending=[True, False])
    if not len(sizes):
        return [Gap("Typical and odd tracks", "there are no audio files with genres, or too few of any genre")]
    paths = subject.library.paths()
    picked = []
    for genre in sizes.get_column("genre").head(GALLERY_GENRES):
        members = there.filter(pl.col("genre") == genre).get_column("track_row").to_list()
        points = vectors[[position[row] for row in members]]
        nearness = points @ points.mean(axis=0)
        for kind, at in (("typical", int(nearness.argmax())), ("odd", int(nearness.argmin()))):
            picked.append((genre, kind, members[at], float(nearness[at])))
    frame = pl.DataFrame(
        picked,
        schema={"genre": pl.String, "kind": pl.String, "track_row": pl.Int32, "nearness": pl.Float64},
        orient="row",
    ).join(subject.names, on="track_row", how="left", maintain_order="left")
    images = []
    for row in frame.iter_rows(named=True):
        png = _spectrogram(Path(os.fsdecode(paths[row["track_id"]])))
        if png is not None:
            images.append((f"{row['genre']}, {row['kind']}\n{row['title']} · {row['artist']}", png))
    if not images:
        return [Gap("Typical and odd tracks", "the audio files are not where they were when they were heard")]
    return [
        Gallery(
            name="gallery",
            title="Typical and odd tracks of each genre",
            images=images,
            frame=frame.drop("track_row"),
            note=f"{_SPECTROGRAM_SECONDS} seconds from the middle: time to the right, pitch upwards, bright is loud.",
        )
    ]


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


# -- twice there ---------------------------------------------------------------------------------------------------


def near_duplicates(vectors: Floats, least: float = SAME_COSINE) -> list[tuple[int, int, float]]:
    """(row, row, cosine) of pairs of unit vectors above `least`, nearest first; each row with its five nearest."""
    import faiss

    unit = np.ascontiguousarray(vectors, np.float32)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    scores, found = index.search(unit, min(6, len(unit)))
    pairs = {}
    for row, (near, values) in enumerate(zip(found.tolist(), scores.tolist(), strict=True)):
        for other, score in zip(near, values, strict=True):
            if other != row and score >= least:
                pairs[min(row, other), max(row, other)] = min(1.0, score)
    return sorted(((a, b, score) for (a, b), score in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))


def _duplicates(subject: Subject, rows: NDArray[np.intp], vectors: Floats) -> Exhibit:
    if len(rows) > 200_000:
        return Gap("Near-duplicates", "comparing every track with every other takes too long above 200,000 tracks")
    pairs = near_duplicates(vectors)
    if len(pairs) > len(rows):
        why = f"the vectors do not tell tracks apart: {len(pairs):,} pairs are nearer than {SAME_COSINE:g} (cosine)"
        return Gap("Near-duplicates", why)
    if not pairs:
        return Gap("Near-duplicates", f"no two tracks are nearer than {SAME_COSINE:g} (cosine)", clear=True)
    frame = pl.DataFrame(
        [(int(rows[a]), int(rows[b]), score) for a, b, score in pairs],
        schema={"track_row": pl.Int32, "other_row": pl.Int32, "cosine": pl.Float64},
        orient="row",
    )
    names = subject.names
    frame = frame.join(names, on="track_row", how="left", maintain_order="left").join(
        names.rename(lambda name: f"other_{name.removeprefix('track_')}"),
        on="other_row",
        how="left",
        maintain_order="left",
    )
    return Table(
        name="near_duplicates",
        title="Near-duplicates",
        frame=frame.select("title", "artist", "other_title", "other_artist", "cosine", "track_id", "other_id"),
        hidden=("track_id", "other_id"),
        note=f"{len(pairs):,} pairs nearer than {SAME_COSINE:g}: the same recording twice, or one that sounds so.",
        rows_shown=15,
    )


# -- words about sound ---------------------------------------------------------------------------------------------


def _descriptions(subject: Subject) -> list[Exhibit]:
    told = list(subject.library.descriptions().values())
    if not told:
        return [Gap("Loudness and tempo", "these vectors were imported; only heard audio has them")]
    return [
        _histogram(told, "loudness_lufs", "How loud are tracks?", "LUFS", 1.0),
        _histogram(told, "tempo_bpm", "How fast are tracks?", "beats a minute", 5.0),
    ]


def _histogram(told: list[dict[str, Any]], field: str, title: str, unit: str, width: float) -> Exhibit:
    values = pl.Series([one.get(field) for one in told], dtype=pl.Float64).drop_nulls()
    if not len(values):
        return Gap(title.removesuffix("?"), "it was found for no track")
    bins = pl.DataFrame({"low": (values / width).floor() * width})
    frame = bins.group_by("low").agg(tracks=pl.len()).sort("low").with_columns(middle=pl.col("low") + width / 2)
    missing = len(told) - len(values)
    note = f"Half of them at most {float(str(values.median())):.0f} {unit}."
    if missing:
        note += f" Not found for {missing:,} of {len(told):,} tracks."
    return Chart(
        name=field,
        title=title,
        frame=frame,
        kind="bar",
        x="middle",
        y="tracks",
        x_title=unit,
        y_title="tracks",
        note=note,
    )


def _failures(subject: Subject) -> Exhibit:
    failures = subject.library.failures()
    if not failures:
        return Gap("Files that could not be read", "every file was read", clear=True)
    frame = pl.DataFrame({"file": [readable(file.path) for file in failures], "reason": list(failures.values())})
    return Table(
        name="failures", title="Files that could not be read", frame=frame, note=f"{len(frame):,} files.", rows_shown=15
    )
