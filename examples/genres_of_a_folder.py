"""The genres of every audio file in a folder, as CSV on stdout.

python examples/genres_of_a_folder.py ~/Music > genres.csv
"""

import csv
import sys
from pathlib import Path

import crossfade

table = csv.writer(sys.stdout)
table.writerow(["path", "genre", "probability", "tempo", "key"])
for path in sorted(Path(sys.argv[1]).expanduser().rglob("*")):
    if not path.is_file():
        continue
    try:
        track = crossfade.classify(path)
    except crossfade.AudioError as error:
        print(error, file=sys.stderr)
        continue
    best = track.genres[0]
    table.writerow([path, best.name, f"{best.probability:.2f}", track.tempo_bpm, track.key])
