"""Five recommendations for every user of a CSV file with the columns user_id, item_id and, if known, weight and time.

python examples/recommend_from_a_table.py plays.csv als > recommendations.csv
"""

import sys

import polars as pl

import crossfade

plays = pl.read_csv(sys.argv[1])
model = crossfade.recommender(sys.argv[2] if len(sys.argv) > 2 else "als").fit(plays)
print(model.recommend(k=5).write_csv(), end="")
