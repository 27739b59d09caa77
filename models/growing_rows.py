"""Rows that grow behind those there are, without a copy of them each time.

Shapes: N rows of width D.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


class Growing:
    """Rows [N, D] with room for more; what was handed out before never changes.

    >>> first = Growing(np.zeros((2, 3), np.float32))
    >>> second, rows = first.plus(2, np.ones((1, 3), np.float32))
    >>> rows.shape
    (3, 3)
    """

    def __init__(self, rows: Matrix) -> None:
        self._room = rows
        self._used = len(rows)

    def plus(self, count: int, more: Matrix) -> tuple[Growing, Matrix]:
        """(who grows on from here, the first `count` rows and `more` behind them).

        The room is shared with whoever appends next; who appends to fewer rows than there are gets a copy.
        """
        total = count + len(more)
        grown = self
        if count != self._used or total > len(self._room):
            room = np.empty((total + max(total // 8, 64), more.shape[1]), np.float32)
            room[:count] = self._room[:count]
            grown = Growing(room)
        grown._room[count:total] = more
        grown._used = total
        return grown, grown._room[:total]
