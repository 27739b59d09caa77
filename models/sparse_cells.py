"""Cells: what lies in some rows of a sparse matrix, without making a sparse matrix of it, which takes longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Places = NDArray[np.intp]


def cells(matrix: csr_matrix, rows: NDArray[np.integer]) -> tuple[Places, Places]:
    """(places in the matrix's `indices` and `data`, which of `rows` each is in), row after row.

    >>> from scipy.sparse import csr_matrix
    >>> places, owners = cells(csr_matrix([[0, 5], [6, 7]]), np.array([1, 0]))
    >>> places.tolist(), owners.tolist()
    ([1, 2, 0], [0, 0, 1])
    """
    starts = matrix.indptr[rows]
    lengths = matrix.indptr[np.asarray(rows) + 1] - starts
    owners = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    return (starts - first)[owners] + np.arange(len(owners)), owners
