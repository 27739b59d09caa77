"""A playlist (M3U) of the tracks in a folder that sound most like a song, from anywhere.

    python examples/playlist_like_a_song.py song.mp3 ~/Music > like_it.m3u

The folder is embedded once; the next playlist takes a moment.
"""

import sys
from pathlib import Path

import crossfade


def main() -> None:
    song, folder = Path(sys.argv[1]), Path(sys.argv[2]).expanduser()
    with crossfade.Library(folder / ".crossfade") as library:
        library.embed(folder)
        paths = dict(library.tracks().select("track_id", "path").iter_rows())
        print("#EXTM3U")
        for neighbour in library.similar(song, k=20, per_artist=2):
            print(paths[neighbour.track_id])


if __name__ == "__main__":  # worker processes import this module again
    main()
