"""Art for tracks without a cover: drawn from the embedding, so that tracks which sound alike look alike.

The vector's products with six fixed random directions, each replaced by its rank among those of the library, choose two
hues, from blue over violet and red to orange, and how a bundle of curves crosses itself. Equal vectors have equal art
for as long as the library stays the same.
"""

from __future__ import annotations

import colorsys

import numpy as np

from ..models.arrays import Scores

_TRAITS = 6
_SAMPLE = 1000
_SEED = 7
_BLUE, _ORANGE = 0.5, 1.1
"""hues in turns: the accents of the page, and what lies between them"""


def cover_art(vector: Scores, library: Scores) -> str:
    """SVG, 240 x 240, for a vector [D] of a library's [T, D]."""
    directions = np.random.default_rng(_SEED).normal(size=(len(vector), _TRAITS)).astype(np.float32)
    sample = library[np.linspace(0, len(library) - 1, min(_SAMPLE, len(library))).astype(np.intp)]
    ranks = ((sample @ directions) < vector @ directions).mean(axis=0).tolist()
    hue, turn, start, end, bend, phase = ranks
    hue = _BLUE + (_ORANGE - _BLUE) * hue
    deep, bright = _colour(hue - 0.04, 0.24, 0.5), _colour(hue + 0.04, 0.5, 0.62)
    light = _colour(hue + 0.12, 0.82, 0.75)
    rise, fall = 70 + 100 * start, 70 + 100 * end
    lines = []
    for number in range(7):
        lift = (number - 3) * (10 + 16 * phase)
        middle = 60 + 120 * bend
        lines.append(
            f"M-10 {rise + lift:.0f}C{middle:.0f} {rise + lift:.0f} {240 - middle:.0f} {fall - lift:.0f} "
            f"250 {fall - lift:.0f}"
        )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 240">'
        f'<defs><linearGradient id="g" x1="{turn:.2f}" y1="0" x2="{1 - turn:.2f}" y2="1">'
        f'<stop stop-color="{bright}"/><stop offset="1" stop-color="{deep}"/></linearGradient></defs>'
        '<rect width="240" height="240" fill="url(#g)"/>'
        f'<path d="{"".join(lines)}" fill="none" stroke="{light}" stroke-width="5" stroke-opacity=".75"/></svg>'
    )


def _colour(hue: float, lightness: float, saturation: float) -> str:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
