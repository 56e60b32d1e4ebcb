"""What a process was told last of its partitions is read from its log."""

from benchmarks.capacity_site import last_assignment

LINE = '{"action": "assignment", "group": "keyfold-policy", "level": "info", "partitions": %s}\n'
OTHER = '{"action": "partition-owned", "partition": 7}\nno JSON at all\n'


def test_the_last_assignment_counts() -> None:
    """Earlier ones are over."""
    assert last_assignment(OTHER + LINE % [0, 1, 2, 3] + OTHER + LINE % [0, 2] + OTHER) == {0, 2}


def test_a_process_that_was_told_nothing_has_nothing() -> None:
    """It is still joining."""
    assert last_assignment(OTHER) == set()
