import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.evaluate.identity import identity_figures
from edge_node.evaluate.matching import FoundPerson, ScoredFrame, assign, scored
from edge_node.evaluate.truth import TrueFrame, TruePerson

FAR = 1000


def body(place: float) -> np.ndarray:
    keypoints = np.full((17, 3), 2, np.float32)
    keypoints[:, 0] = place * FAR
    keypoints[:, 1] = 10 * np.arange(17)
    return keypoints


def frame(true: dict[int, float], found: dict[int, float]) -> ScoredFrame:
    """Identity to place, of those there and of those found."""
    return ScoredFrame(
        tuple(TruePerson(id_, body(place), 5000.0) for id_, place in true.items()),
        tuple(FoundPerson(id_, body(place)) for id_, place in found.items()),
        cut=False,
        inferences=1,
    )


def test_everybody_found_under_one_identity_is_perfect():
    figures = identity_figures([frame({1: 0, 2: 1}, {7: 0, 8: 1})] * 5)
    assert (figures.recall, figures.precision, figures.identity_switches, figures.mota) == (1, 1, 0, 1)
    assert (figures.hota, figures.detection_accuracy, figures.association_accuracy) == pytest.approx((1, 1, 1))
    assert (figures.identities_true, figures.identities_found) == (2, 2)


def test_a_swap_of_two_is_two_switches():
    figures = identity_figures([frame({1: 0, 2: 1}, {7: 0, 8: 1})] * 2 + [frame({1: 0, 2: 1}, {8: 0, 7: 1})] * 2)
    assert figures.identity_switches == 2
    assert figures.mota == pytest.approx(1 - 2 / 8)
    # Each true identity shares 2 of 4 frames with each found one: 2 / (4 + 4 - 2) for every hit.
    assert figures.association_accuracy == pytest.approx(1 / 3)
    assert figures.hota == pytest.approx(math.sqrt(1 / 3))


def test_a_new_identity_after_a_gap_is_one_switch():
    there, gone = frame({1: 0}, {7: 0}), frame({1: 0}, {})
    figures = identity_figures([there, gone, frame({1: 0}, {8: 0})])
    assert (figures.identity_switches, figures.recall) == (1, pytest.approx(2 / 3))
    assert figures.mota == pytest.approx(1 - 2 / 3)


def test_the_same_identity_after_a_gap_is_none():
    figures = identity_figures([frame({1: 0}, {7: 0}), frame({1: 0}, {}), frame({1: 0}, {7: 0})])
    assert figures.identity_switches == 0


def test_a_ghost_costs_precision_and_mota():
    figures = identity_figures([frame({1: 0}, {7: 0, 8: 5})] * 4)
    assert (figures.recall, figures.precision, figures.mota) == (1, 0.5, 0)
    assert figures.detection_accuracy == pytest.approx(0.5)


def test_a_pair_stays_while_it_fits_even_when_another_fits_better():
    first = frame({1: 0}, {7: 0.005})
    second = frame({1: 0}, {7: 0.005, 8: 0})
    assert identity_figures([first, second]).identity_switches == 0


def test_nothing_found_is_zero_and_nobody_there_is_nothing():
    assert identity_figures([frame({1: 0}, {})]).hota == 0
    empty = identity_figures([frame({}, {})])
    assert math.isnan(empty.mota)
    assert math.isnan(empty.hota)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.sampled_from([0, 7, 8, 9]), min_size=2, max_size=2), min_size=1, max_size=8))
def test_renaming_identities_changes_nothing(names):
    def frames(rename):
        return [frame({1: 0, 2: 1}, {rename[n]: place for place, n in enumerate(row) if n}) for row in names]

    a, b = identity_figures(frames({7: 7, 8: 8, 9: 9})), identity_figures(frames({7: 30, 8: 10, 9: 20}))
    assert (a.identity_switches, a.mota) == (b.identity_switches, b.mota)
    assert a.hota == pytest.approx(b.hota)
    assert 0 <= a.hota <= 1
    assert a.mota <= a.recall + 1e-9


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_the_assignment_is_the_best_of_all(rows, columns, seed):
    table = np.random.default_rng(seed).random((rows, columns))
    small, large = min(rows, columns), max(rows, columns)
    square = table if rows <= columns else table.T
    best = max(sum(square[r, c] for r, c in enumerate(order)) for order in itertools.permutations(range(large), small))
    assert sum(table[pair] for pair in assign(table, 0.0)) == pytest.approx(best)


def test_who_is_hidden_is_not_demanded_and_finding_them_is_no_mistake():
    hidden = TruePerson(2, body(1), 5000.0, demanded=False)
    judged = scored(
        TrueFrame(np.zeros((1, 1, 3), np.uint8), (TruePerson(1, body(0), 5000.0), hidden)),
        [FoundPerson(7, body(0)), FoundPerson(8, body(1))],
        2,
    )
    assert [person.id for person in judged.true] == [1]
    assert [person.id for person in judged.found] == [7]


def test_a_find_in_a_box_where_nobody_was_annotated_is_left_out():
    around = (0.8 * FAR, -10.0, 1.2 * FAR, 100.0)
    truth = TrueFrame(np.zeros((1, 1, 3), np.uint8), (TruePerson(1, body(0), 5000.0),), ignore_px=(around,))
    judged = scored(truth, [FoundPerson(7, body(0)), FoundPerson(8, body(1)), FoundPerson(9, body(2))], 2)
    assert [person.id for person in judged.found] == [7, 9]
