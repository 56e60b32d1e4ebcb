"""Times to recover are read from calls: by verb, by partition, and as the longest silence."""

import pytest
from fault_injection.calls import Call, Told, acknowledged, counted
from fault_injection.checking import recovered
from fault_injection.recovery import Injected, Recovery, as_data, as_markdown, recovery

FAULT = Injected("kill", "hsm-0", 100.0, 110.0, ("served again after 3.0 s",))
VERBS = ("Encrypt", "CreateKey")


def call(verb: str, began: float, ended: float, partition: int | None = 1, told: Told = "acknowledged") -> Call:
    """Return a call."""
    return Call(verb, began, ended, told, partition=partition)


HONEST = [
    call("Encrypt", 99.0, 99.5),
    call("Encrypt", 100.5, 101.0),
    call("CreateKey", 101.0, 111.5, partition=0),
    call("Encrypt", 108.0, 110.2, partition=0),
    call("Encrypt", 110.1, 112.0),
    call("Encrypt", 110.1, 113.0, partition=0),
]


def found(*calls: Call) -> Recovery:
    """Return what these calls tell, in a deployment of two partitions."""
    return recovery(FAULT, calls, VERBS, 2)


def test_each_verb_recovers_with_its_first_call_that_ends_after_the_fault() -> None:
    """Times count from the end of the fault; what was served before it ended is counted as served meanwhile."""
    told = found(*HONEST)
    assert told.first == pytest.approx({"Encrypt": 0.2, "CreateKey": 1.5})
    assert told.during == {"Encrypt": 1, "CreateKey": 0}
    assert told.lasted == 10.0
    assert told.slowest(data=True) == ("Encrypt", pytest.approx(0.2))


def test_a_partition_recovers_with_a_call_that_began_after_the_fault() -> None:
    """A call that was under way while the fault lasted does not count: it may have been executed before."""
    assert found(*HONEST).everywhere == pytest.approx(3.0)
    assert found(*HONEST[:-1]).everywhere is None


def test_silence_is_the_longest_time_in_which_no_key_was_used() -> None:
    """From the beginning of the fault to where everything was served again; changes of keys do not end it."""
    assert found(*HONEST).silence == pytest.approx(9.2)
    assert found(call("CreateKey", 101.0, 105.0), call("Encrypt", 110.0, 130.0)).silence == pytest.approx(30.0)


def test_what_is_refused_or_unknown_is_not_served() -> None:
    """Only an acknowledgement ends an outage."""
    told = found(call("Encrypt", 111.0, 112.0, told="refused"), call("CreateKey", 111.0, 112.0, told="unknown"))
    assert told.first == {"Encrypt": None, "CreateKey": None}
    assert not told.complete


@pytest.mark.parametrize("left_out", [2, 5])
def test_a_verb_or_partition_that_is_never_served_again_is_found(left_out: int) -> None:
    """Recovery is one of the things that are checked."""
    calls = [each for number, each in enumerate(HONEST) if number != left_out]
    assert not recovered([found(*HONEST)])
    (finding,) = recovered([found(*calls)])
    assert finding.rule == "recovery"


def test_the_table_has_a_row_for_each_fault() -> None:
    """For programs with all verbs, for people with the slowest ones."""
    (row,) = as_data([found(*HONEST)])
    assert row["first_served_after_s"] == {"Encrypt": 0.2, "CreateKey": 1.5}
    assert row["notes"] == ["served again after 3.0 s"]
    lines = as_markdown([found(*HONEST), found()]).splitlines()
    assert lines[2] == "| kill | hsm-0 | 10.0 | 1 | 0.2 | 1.5 | 3.0 | 9.2 | served again after 3.0 s |"
    assert "| never | never | never |" in lines[3]


def test_callers_tell_what_was_acknowledged() -> None:
    """By command, where the answer had a receipt; and how many were told what."""
    calls = [
        Call("Encrypt", 1.0, 2.0, "acknowledged", command="a"),
        Call("Encrypt", 1.0, 2.0, "acknowledged"),
        Call("CreateKey", 1.0, 2.0, "refused", "NotFound", command="b"),
        Call("CreateKey", 1.0, 2.0, "unknown", "DeadlineExceeded"),
    ]
    assert acknowledged(calls) == {"a": "Encrypt"}
    assert counted(calls) == {"acknowledged": 2, "refused NotFound (CreateKey)": 1, "unknown DeadlineExceeded": 1}
