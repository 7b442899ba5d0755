from vsedvr.compare.choice import closest, most_different, spread


def test_spread_numbers_lie_in_the_middle_of_equal_parts() -> None:
    assert spread(range(100), 4) == [12, 37, 62, 87]
    assert spread(range(100), 1) == [50]
    assert spread(range(3), 8) == [0, 1, 2]
    assert spread([3, 5, 9], 2) == [3, 9]
    assert len(set(spread(range(170_000), 200))) == 200


def test_the_frames_that_differ_most_lie_apart() -> None:
    differences = dict.fromkeys(range(100), 1.0) | {40: 9.0, 41: 10.0, 42: 9.0, 80: 5.0}
    assert most_different(differences, 2, []) == [41, 80]
    assert most_different(differences, 1, [41]) == [80], "a neighbour of what is shown shows the same"


def test_where_there_are_few_frames_neighbours_do() -> None:
    assert sorted(most_different({n: float(n) for n in range(1, 6)}, 4, [3])) == [1, 2, 4, 5]


def test_frames_that_do_not_differ_are_not_chosen() -> None:
    assert most_different(dict.fromkeys(range(10), 0.0), 3, []) == []
    assert most_different({0: 0.0, 1: 2.0, 2: 0.0}, 3, []) == [1]
    assert most_different({}, 3, []) == []


def test_the_number_that_is_missed_least_has_the_nearest_neighbour() -> None:
    assert closest([10, 90, 50, 12]) == 12
    assert closest([7]) == 7
