# SPDX-License-Identifier: MIT
"""Who belongs to whom: the cheapest pairing of rows and columns (the Hungarian method, shortest augmenting paths)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def cheapest_pairs(costs: npt.NDArray[np.float64], most: float) -> list[tuple[int, int]]:
    """Return pairs (row, column) of the least total cost, in which staying alone costs half of `most`.

    So two are paired when that costs less than `most`, and never otherwise. Nearest-first would do with few vehicles,
    but takes the wrong partner exactly where it matters: where two vehicles pass each other.

    Args:
        costs: shape (rows, columns), finite or infinite, 0 or more.
        most: what a pair may cost at most.
    """
    rows, columns = costs.shape
    if rows == 0 or columns == 0:
        return []
    size = rows + columns
    # Every row may take a column of its own that means "alone", and so may every column.
    padded = np.full((size, size), most / 2, np.float64)
    padded[:rows, :columns] = np.minimum(costs, 4 * most)
    padded[rows:, columns:] = 0.0
    column_of = _solve(padded)
    return [
        (row, int(column_of[row]))
        for row in range(rows)
        if column_of[row] < columns and costs[row, column_of[row]] < most
    ]


def _solve(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the column of each row in the cheapest complete pairing of a square matrix."""
    size = len(costs)
    row_price, column_price = np.zeros(size + 1), np.zeros(size + 1)
    row_of = np.full(size + 1, size, np.int64)  # by column; the last column is where a search starts
    for row in range(size):
        row_of[size] = row
        column = size
        cheapest = np.full(size, np.inf)
        came_from = np.full(size, size, np.int64)
        is_used = np.zeros(size + 1, np.bool_)
        while row_of[column] != size:
            is_used[column] = True
            at_row = row_of[column]
            reduced = costs[at_row] - row_price[at_row] - column_price[:size]
            better = ~is_used[:size] & (reduced < cheapest)
            cheapest[better] = reduced[better]
            came_from[better] = column
            free = np.where(is_used[:size], np.inf, cheapest)
            following = int(np.argmin(free))
            step = free[following]
            used = np.flatnonzero(is_used)
            row_price[row_of[used]] += step
            column_price[used] -= step
            cheapest[~is_used[:size]] -= step
            column = following
        while column != size:
            before = int(came_from[column])
            row_of[column] = row_of[before]
            column = before
    column_of = np.zeros(size, np.int64)
    column_of[row_of[:size]] = np.arange(size)
    return column_of
