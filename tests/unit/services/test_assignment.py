# SPDX-License-Identifier: MIT
from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from services.assignment import cheapest_pairs

MOST = 2.0
matrices = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    elements=st.one_of(st.floats(0, 3, width=32), st.just(np.inf)),
)


@given(matrices)
def test_no_other_pairing_is_cheaper(costs: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    pairs = cheapest_pairs(costs, MOST)

    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(costs[pair] < MOST for pair in pairs)
    assert _total(costs, pairs) <= _cheapest_by_trying_all(costs) + 1e-6


def test_two_that_pass_each_other_keep_their_partners_although_the_other_is_nearer_for_one() -> None:
    costs = np.array([[0.5, 0.4], [1.9, 0.6]])

    assert cheapest_pairs(costs, MOST) == [(0, 0), (1, 1)]


def _total(costs: np.ndarray[tuple[int, int], np.dtype[np.float64]], pairs: list[tuple[int, int]]) -> float:
    alone = sum(costs.shape) - 2 * len(pairs)
    return float(sum(costs[pair] for pair in pairs)) + MOST / 2 * alone


def _cheapest_by_trying_all(costs: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    rows, columns = costs.shape
    best = _total(costs, [])
    for number in range(1, min(rows, columns) + 1):
        for chosen in itertools.combinations(range(rows), number):
            for partners in itertools.permutations(range(columns), number):
                pairs = list(zip(chosen, partners, strict=True))
                best = min(best, _total(costs, pairs))
    return best
