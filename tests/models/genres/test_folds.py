"""Folds keep artists together; labels are read, checked and tied by artist."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.errors import DataError
from crossfade.models.genres.folds import grouped_folds, groups_per_class, joined_groups, splits
from crossfade.pipelines.genres.dataset import AudioDataset, protocols
from crossfade.pipelines.genres.labels import artist_keys, read_labels
from crossfade.pipelines.genres.options import LabelOptions


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(2, 40), st.integers(2, 5), st.integers(0, 1000))
def test_groups_stay_together_and_every_track_is_tested_once(classes, groups, folds, seed):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 8, groups))
    class_of_group = rng.integers(0, classes, groups)
    targets = np.eye(classes, dtype=bool)[class_of_group[group]]
    fold = grouped_folds(targets, group, folds, rng=rng)
    assert all(len(np.unique(fold[group == number])) == 1 for number in range(groups))
    tested = np.concatenate([test for _, test in splits(fold)])
    assert sorted(tested.tolist()) == list(range(len(group)))
    # A class with two artists or more is known in every fold.
    for column in np.flatnonzero(groups_per_class(targets, group) >= 2):
        assert len(np.unique(fold[targets[:, column]])) >= 2


def test_single_tracks_are_spread_evenly(rng):
    targets = np.eye(3, dtype=bool)[np.repeat(np.arange(3), 20)]
    fold = grouped_folds(targets, np.arange(60), 5, rng=rng)
    counts = np.array([[np.sum(targets[fold == f, c]) for c in range(3)] for f in range(5)])
    assert (counts == 4).all()


def test_collaborations_tie_artists():
    keys = [artist_keys(name) for name in ("Ice Cube", "Ice Cube, Mack 10 & Ms. Toi", "Mack 10", "Wu-Tang Clan", "")]
    assert joined_groups(keys).tolist() == [0, 0, 0, 1, 2]


def test_collective_names_group_no_tracks():
    assert joined_groups([artist_keys("Various Artists"), artist_keys("various artists")]).tolist() == [0, 1]


@pytest.fixture
def labels(tmp_path):
    def write(rows, header=("path", "genre", "artist"), *, make=True):
        path = tmp_path / "labels.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        for row in rows if make else ():
            audio = tmp_path / row[0]
            audio.parent.mkdir(exist_ok=True)
            audio.touch()
        return path

    return write


FOUR = [("a/1.wav", "rock", "X"), ("a/2.wav", "rock", "Y"), ("b/1.wav", "jazz", "Z"), ("b/2.wav", "jazz", "W")]


def test_a_csv(labels):
    found = read_labels(labels(FOUR))
    assert found.classes == ("jazz", "rock")
    assert found.targets.sum(axis=0).tolist() == [2, 2]
    assert (found.multi_label, found.leaky) == (False, False)


def test_without_artists_it_is_leaky(labels):
    assert read_labels(labels([row[:2] for row in FOUR], ("path", "genre"))).leaky
    assert read_labels(labels([*FOUR[:3], ("b/2.wav", "jazz", "")])).leaky


def test_several_genres(labels):
    found = read_labels(labels([*FOUR, ("c.wav", "rock|jazz", "V")]))
    assert found.multi_label
    assert found.targets[4].all()


def test_a_folder_per_genre(labels, tmp_path):
    labels(FOUR)
    found = read_labels(tmp_path)
    assert found.classes == ("a", "b")
    assert found.leaky


def test_learning_artists_keeps_albums_together(labels):
    rows = [(f"{artist}{n}.wav", "rock", artist, f"album {n // 2}") for artist in "XY" for n in range(4)]
    found = read_labels(labels(rows, ("path", "genre", "artist", "album")), LabelOptions(target="artist"))
    assert found.classes == ("X", "Y")
    assert len(np.unique(found.groups())) == 4
    assert not found.leaky


def test_equal_content_is_tied(labels):
    found = read_labels(labels(FOUR))
    assert len(np.unique(found.groups(["p", "q", "p", "r"]))) == 3


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (FOUR[:3], ("path", "genre", "artist"), "'jazz' has one example"),
        (FOUR[:2], ("path", "genre", "artist"), "at least two classes"),
        (FOUR, ("file", "genre", "artist"), "no column 'path'"),
        ([*FOUR, FOUR[0]], ("path", "genre", "artist"), "is there 2 times"),
        ([*FOUR, ("c.wav", "", "V")], ("path", "genre", "artist"), "line 6: column 'genre' is empty"),
        ([(*row[:2], "tset") for row in FOUR], ("path", "genre", "split"), "'tset' is not train"),
        (
            [(*row[:2], "test" if row[1] == "jazz" else "train") for row in FOUR],
            ("path", "genre", "split"),
            "'jazz' is in the test or validation split but has no training example",
        ),
    ],
)
def test_what_cannot_be_learnt_is_named(labels, rows, header, message):
    with pytest.raises(DataError, match=message):
        read_labels(labels(rows, header))


def test_a_missing_file_is_named(labels):
    with pytest.raises(DataError, match=r"no file 'a/1.wav' \(and 3 more\)"):
        read_labels(labels(FOUR, make=False))


def test_classes_can_be_skipped(labels):
    found = read_labels(labels([*FOUR, ("c.wav", "polka", "V")]), LabelOptions(skip_classes=True))
    assert found.classes == ("jazz", "rock")


def test_split_files_filter_and_ignore_suffixes(labels, tmp_path):
    path = labels([*FOUR, ("b/3.wav", "jazz", "Q")])
    lists = {"train_filtered.txt": "a/1.au\nb/1.au\n", "test_filtered.txt": "a/2.au\nb/2.au\n"}
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    found = read_labels(path, LabelOptions(split_files=tuple(tmp_path / name for name in lists)))
    assert found.splits == ("train", "test", "train", "test")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.txt", "a/1.wav\nnowhere.wav\n", "line 2: 'nowhere.wav' is not among"),
        ("train.txt", "elsewhere/1.wav\n", "line 1: 'elsewhere/1.wav' is not among"),
        ("list.txt", "a/1.wav\n", "name says train"),
        ("train.txt", "", "no train list"),
    ],
)
def test_broken_split_files(labels, tmp_path, name, text, message):
    path = labels(FOUR)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_labels(path, LabelOptions(split_files=(tmp_path / name,)))


def test_fma_is_read_as_it_ships(tmp_path):
    audio = tmp_path / "fma_small"
    lines = [
        ",album,album,artist,set,set,track",
        ",comments,title,name,split,subset,genre_top",
        "track_id,,,,,,",
    ]
    for number in range(1, 9):
        part, genre = ("test", "training")[number % 4 > 0], ("Rock", "Folk")[number % 2]
        size = "large" if number > 7 else "small"
        lines.append(f"{number},0,Album {number},Artist {number},{part},{size},{genre}")
        path = audio / "000" / f"{number:06}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    source = tmp_path / "fma_metadata" / "tracks.csv"
    source.parent.mkdir()
    source.write_text("\n".join(lines).replace(",comments,title", ",comments,title"))
    found = read_labels(source, LabelOptions(skip_classes=True))
    assert len(found) == 7
    assert found.classes == ("Folk", "Rock")
    assert set(found.splits or ()) == {"train", "test"}


def test_tracks_of_unknown_artists_are_on_neither_side(labels):
    rows = [(f"{genre}{n}.wav", genre, f"{genre} {n // 2}") for genre in ("rock", "jazz") for n in range(6)]
    found = read_labels(labels([*rows, ("x.wav", "rock", "Various Artists"), ("y.wav", "jazz", "")]))
    artist, random = protocols(AudioDataset(found, {}), folds=3)
    assert (artist.leaky, artist.unknown, random.leaky) == (False, 2, True)
    unknown = {found.names.index(name) for name in ("x.wav", "y.wav")}
    for fold in artist.folds:
        assert not unknown & {*fold.train.tolist(), *fold.test.tolist()}
    assert unknown <= {row for fold in random.folds for row in fold.test.tolist()}
