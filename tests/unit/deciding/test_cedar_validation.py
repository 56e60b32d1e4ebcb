"""Which texts may be put: schema, templates, sizes; and that no text of an allowed size ends the process."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from keyfold.deciding.cedar import validate_policy
from keyfold.deciding.cedar.text import MAX_STATEMENTS, MAX_TEXT_BYTES, statements_of
from keyfold.events.errors import InvalidPolicy

HEAD = "permit(principal, action, resource)"


def when(condition: str) -> str:
    return f"{HEAD} when {{ {condition} }};"


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD};",
        f'// admins; (all of them\n@id("x")\n{HEAD};\n\nforbid(principal, action, resource) unless {{ true }};',
        when('"a // ( b" == "\\"((" || context.items < 3'),
        when('resource is Key && resource.created_by != Principal::"bob"'),
        when('principal in Group::"a" || principal in [Group::"b", Group::"c"]'),
        when('principal is Principal in Group::"a"'),
        when('[Principal::"a", Principal::"b"].contains(principal)'),
        when('context.approvals.principals.contains(Principal::"bob")'),
        when('context.approvals.principals.containsAny([Principal::"bob", Principal::"eve"])'),
        when('[Principal::"bob", Principal::"eve"].containsAll(context.approvals.principals)'),
        when("context.approvals.count > 1 && !(principal in context.approvals.principals)"),
        when('context has target && context.target in Group::"a" && context.target.type == "human"'),
        when('principal.type == "human" && context.reason like "CHG-*" && context.protection == "HSM"'),
        when("context has items && context.time.weekday == 1"),
        when(f"[{','.join(['1'] * 3000)}].contains(context.items)"),
        when(" || ".join(f"context.items == {n}" for n in range(40))),
        f"{HEAD};" * MAX_STATEMENTS,
    ],
)
def test_accepts(text: str) -> None:
    """Texts that fit the schema may be put."""
    validate_policy(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no policy"),
        ("// only a comment", "holds no policy"),
        ("permit", "statement 0, from line 1: "),
        (f"{HEAD};\n\n{HEAD} when {{ 1 + }};", "statement 1, from line 3: unexpected token"),
        (f"{HEAD}", "statement 0, from line 1: "),
        (f'{HEAD}\nwhen {{ "a }};', "line 2: a string is not closed"),
        ("permit(principal == ?principal, action, resource);", "templates"),
        ('permit(principal, action, resource in ?resource);', "templates"),
        (f'{HEAD};\npermit(principal, action == Action::"Nope", resource);', 'statement 1, from line 2: unrecognized'),
        ('permit(principal == User::"x", action, resource);', "User"),
        ('permit(principal, action, resource == Alias::"x");', "Alias"),
        ("permit(principal is Group, action, resource);", "unable to find an applicable action"),
        ('permit(principal, action == Action::"Encrypt", resource is Registry);', "unable to find an applicable"),
        ('permit(principal, action == Action::"GenerateRandom", resource is Key);', "unable to find an applicable"),
        (when("context.nope == 1"), "`nope`"),
        (when("context.items == \"1\""), "statement 0, from line 1: "),
        (when('resource.status == "Enabled"'), "`status` on entity type `Registry`"),
        (when('principal.name == "x"'), "`name`"),
        (when('context.encryption_context.getTag("x") == "y"'), "safety of access to tag"),
        (when('context.encryption_context["x"] == "y"'), "`x`"),
        (when('Principal::"bob" in Group::"a"'), "nothing is known about them"),
        (when('Principal::"bob".hasTag("a")'), "nothing is known about them"),
        (when('Principal::"bob".type == "human"'), "nothing is known about them"),
        (when('Principal::"bob" in context.approvals.principals'), "nothing is known about them"),
        (when('[Principal::"a"].contains(if true then Principal::"a" else principal)'), "nothing is known"),
        (when('[principal].contains(Principal::"bob") && Principal::"bob" in Group::"a"'), "nothing is known"),
        (when("context.target == principal"), "optional attribute `target`"),
        (when("context.approvals.principals.contains(1)"), "statement 0, from line 1: "),
        (when('context.approvals.principals.contains(Group::"a")'), "statement 0, from line 1: "),
        (when('(if context.items > 1 then Principal::"a" else principal) in Group::"a"'), "nothing is known"),
        (when('{a: Principal::"bob"}.a in Group::"a"'), "nothing is known about them"),
        (f'{HEAD} unless {{ true }} when {{ !(Key::"x".protection == "HSM") }};', "nothing is known about them"),
        (f"{HEAD};" * (MAX_STATEMENTS + 1), "at most 100 statements"),
        (when(" || ".join(f"context.items == {n}" for n in range(100))), "nested too deeply"),
        (when("(" * 25 + "true" + ")" * 25), "brackets are nested"),
        (f"// {'x' * MAX_TEXT_BYTES}\n{HEAD};", "larger than 32768 bytes"),
        (f"// {'é' * (MAX_TEXT_BYTES // 2)}\n{HEAD};", "larger than 32768 bytes"),
    ],
)  # fmt: skip
def test_refuses(text: str, message: str) -> None:
    """Each kind of text that must not be put is refused with what is wrong and where."""
    with pytest.raises(InvalidPolicy) as caught:
        validate_policy(text)
    assert message in str(caught.value)


def test_messages_are_short_and_one_line() -> None:
    """A message repeats little of the text, whatever that holds."""
    with pytest.raises(InvalidPolicy) as caught:
        validate_policy(when('1 "' + "x\n\x1b" * 5000 + '"'))
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_messages_are_the_same_in_every_process() -> None:
    """A refusal becomes part of the log, so its message does not follow the order of a hash table."""
    script = (
        "from keyfold.deciding.cedar import validate_policy\n"
        "try: validate_policy('permit(principal, action, resource) when { context.a == 1 && context.b == 2 };')\n"
        "except Exception as error: print(error)"
    )
    made = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(made) == 1
    assert "`a`" in made.pop()


def repeated(head: str, middle: str, tail: str = "") -> Callable[[int], str]:
    return lambda times: when(head * times + middle + tail * times)


def joined(operator: str, operand: str, tail: str) -> Callable[[int], str]:
    return lambda times: when(operator.join([operand] * times) + tail)


HOSTILE: dict[str, Callable[[int], str]] = {
    "brackets": repeated("(", "true", ")"),
    "sets": repeated("[", "1", "]"),
    "records": repeated("{a:", "1", "}"),
    "calls": repeated("[1].contains(", "1", ")"),
    "conditionals": repeated("if 1then 1else ", "1"),
    "conditions of conditionals": repeated("if ", "true", " then true else true"),
    "not": repeated("!", "true"),
    "minus": repeated("-", "1 == 1"),
    "sum": joined("+", "1", " == 1"),
    "product": joined("*", "1", " == 1"),
    "and": joined("&&", "true", ""),
    "or": joined("||", "true", ""),
    "attributes": lambda times: when("context" + ".a" * times + " == 1"),
    "indexes": lambda times: when("context" + '["a"]' * times + " == 1"),
    "has": lambda times: when("context has a" + ".a" * times),
    "scope": lambda times: f"permit(principal in {'[' * times}{']' * times}, action, resource);",
    "hidden by a comment": lambda times: when(f'// " {chr(13)} {"(" * times} true {")" * times}'),
    "hidden by an escaped line end": lambda times: when(f'"\\\n" == {"(" * times} true {")" * times} + "'),
    "hidden by a quote in a comment": lambda times: when(f'// "\n{"(" * times} true {")" * times} // "\n'),
    "commas in brackets": lambda times: when("([1,1]==[1,1])&&" * times + "true"),
    "conditions": lambda times: f"{HEAD}{'when{true}' * times};",
    "not closed": lambda times: f"{HEAD} when {{ " + "(" * times,
}


def largest(make: Callable[[int], str]) -> str:
    """Make the largest text of this kind that is of allowed size."""
    low, high = 1, MAX_TEXT_BYTES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(make(middle).encode()) <= MAX_TEXT_BYTES else (low, middle)
    return make(low)


SCRIPT = """
import json, sys, threading
from keyfold.events.errors import InvalidPolicy
from keyfold.deciding.cedar import validate_policy

def check():
    for name, text in json.load(sys.stdin).items():
        print(name, flush=True)
        try:
            validate_policy(text)
            print("accepted")
        except InvalidPolicy:
            pass
    print("end")

threading.stack_size(2 * 1024 * 1024)
thread = threading.Thread(target=check)
thread.start()
thread.join()
"""


def test_no_text_ends_the_process() -> None:
    """The deepest texts that fit the size are refused. Cedar's own parser overflows the stack on many of them.

    In a process of its own, whose end would otherwise be that of all tests; its stack is a quarter of the usual one.
    """
    texts = json.dumps({name: largest(make) for name, make in HOSTILE.items()})
    made = subprocess.run([sys.executable, "-c", SCRIPT], input=texts, capture_output=True, check=False, text=True)
    assert (made.stdout.splitlines(), made.stderr, made.returncode) == ([*HOSTILE, "end"], "", 0)


def test_statements() -> None:
    """Statements are told apart as Cedar does: by semicolons outside strings, comments and brackets."""
    text = '// a; b\n\npermit(principal, action, resource) when { "a;\\"(b" == "x" };\nforbid(x);  rest'
    assert [(statement.text[:6], statement.line) for statement in statements_of(text)] == [
        ("permit", 3),
        ("forbid", 4),
        ("rest", 4),
    ]
