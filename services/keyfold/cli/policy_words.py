"""An explanation in plain words, and as data. Pure; what is explained is found out in `keyfold.deciding`."""

from collections.abc import Iterator
from typing import Any, Final

from keyfold.cli import output
from keyfold.deciding.explaining import Asked, Explanation
from keyfold.deciding.reasons import LimitNote, PolicyText
from keyfold.events import errors, facts

_MARKS: Final = {"determined": "»", "in error": "!", "could apply": "~", "": " "}
_LEGEND: Final = "» determined the answer   ! could not be evaluated   ~ could apply, by principal, verb and resource"


def as_data(explanation: Explanation) -> dict[str, Any]:
    """Return everything, with the decision itself as its document and not twice."""
    facts_: dict[str, Any] = output.plain(explanation)
    remade = explanation.remade
    del facts_["remade"]
    made = None if remade.verdict == "reproduced" or remade.event is None else remade.event.model_dump(mode="json")
    signature = {"signature": "valid" if explanation.signature is None else explanation.signature}
    return {**facts_, **signature, "verdict": remade.verdict, "why": remade.why, "made_again": made}


def as_words(explanation: Explanation) -> str:
    """Return what a person wants to read."""
    parts = [_headline(explanation), output.pairs(_about(explanation))]
    for number, asked in enumerate(explanation.asked):
        title = "what the approval would carry out" if number else "what was asked"
        parts.append(f"{title}:\n\n{_indented(output.pairs(_asked(asked)))}")
        parts += [_indented(_policy(policy)) for policy in asked.policies]
        parts += [_indented(f"grant {note.grant}: {note.said}") for note in asked.grants]
    if any(asked.policies for asked in explanation.asked):
        parts.append(_indented(_LEGEND))
    parts += ["limits:\n\n" + "\n".join(_indented(_limit(note)) for note in explanation.limits)] * bool(
        explanation.limits
    )
    return "\n\n".join([*parts, output.pairs(_place(explanation))])


def _headline(explanation: Explanation) -> str:
    event = explanation.event
    if isinstance(event, facts.DryRunSucceeded):
        done = f"a dry run, which succeeded: it would have become {event.data.would_be}"
    elif explanation.code is not None:
        done = f"denied: {explanation.code} ({errors.refusal_by_code(explanation.code).hint})"
    else:
        done = f"let through, as {event.type}"
    return f"{explanation.verb} on {event.subject} at {event.time} was {done}."


def _about(explanation: Explanation) -> Iterator[tuple[str, Any]]:
    trust = "its signature is valid" if explanation.signature is None else f"NOT AUTHENTIC: {explanation.signature}"
    yield "command", f"{explanation.command_id}, signed with key {explanation.signing_key[:16]}…; {trust}"
    if explanation.refused_before is not None:
        yield "authorization", "was not asked: the command was refused before"
    if explanation.dry_run:
        yield "dry run", True
    use = explanation.event.data.decision.proposal
    if use is not None:
        yield "proposal", f"{use.proposal}, carried out with the approvals of {', '.join(use.approvers) or 'nobody'}"


def _asked(asked: Asked) -> Iterator[tuple[str, Any]]:
    who = asked.principal
    yield "who", f"{who['name']} ({who['type']}, {who['status']})"
    yield "groups", who["groups"]
    yield "tags", who["tags"]
    yield "verb", asked.verb
    if asked.key is not None:
        key = {name: value for name, value in asked.key.items() if name != "tags"}
        yield "key", key
        yield "key tags", asked.key.get("tags")
    for number, context in enumerate(asked.contexts if any(asked.contexts) else ()):
        nobody = " (no policy permits this one)" if number in asked.uncovered and len(asked.contexts) > 1 else ""
        yield f"context {number}", f"{', '.join(f'{name}={value}' for name, value in context.items()) or '-'}{nobody}"
    if asked.items:
        yield "items", f"{asked.items}, {output.size(asked.bytes)}"
    for name in (
        "reason", "source", "cause", "target", "algorithm", "message_type", "key_version", "destination", "proposes",
    ):  # fmt: skip
        if getattr(asked, name):
            yield name, getattr(asked, name)
    yield "approvals", asked.approvals
    yield "answer", _answer(asked)


def _answer(asked: Asked) -> str:
    named = ", ".join(asked.answer.policies)
    if asked.answer.allowed:
        return f"allowed, by {named}"
    if named:
        return f"denied ({asked.answer.code}), by {named}"
    near = "those below could apply, by principal, verb and resource" if asked.policies else "none could apply"
    return f"denied ({asked.answer.code}): no policy permits it and none forbids it; {near}"


def _policy(policy: PolicyText) -> str:
    lines = [policy.policy]
    for statement in policy.statements:
        first, *rest = statement.text.splitlines() or [""]
        lines.append(f"{_MARKS[statement.mark]} #{statement.number}  {first}")
        lines += [f"      {line}" for line in rest]
    return "\n".join(lines)


def _limit(note: LimitNote) -> str:
    share = ", of which each partition has its share" if note.shared else ""
    about = f"{note.limit} ({note.kind}: {note.amount} in {note.period_seconds} s{share})"
    if note.level is None:
        return f"{about}: refuses the command"
    if note.kind == "quota":
        return f"{about}: {note.level} used, with this command"
    return f"{about}: {note.level / 1000:g} left, after this command"


def _place(explanation: Explanation) -> Iterator[tuple[str, Any]]:
    decision = explanation.event.data.decision
    yield "event", explanation.event.id
    yield (
        "place",
        (
            f"events partition {explanation.partition}, position {explanation.position}, statement "
            f"{explanation.statement_n} of policy; offset {decision.offset} of commands"
        ),
    )
    yield "registry", f"revision {decision.registry_revision}"
    known = f"the HSM worker's statements up to {decision.facts_n}"
    if explanation.partition:
        yield "known", f"{known}, {decision.registry_n} leaves of the registry"
    else:
        yield "known", f"{known}, root's up to {decision.root_n}"
    yield "made again", _remade(explanation)


def _remade(explanation: Explanation) -> str:
    remade = explanation.remade
    if remade.verdict == "reproduced":
        return "the same, bit for bit"
    if remade.verdict == "not expected":
        return f"not expected to be the same: {remade.why}"
    where = f" (differs in {', '.join(explanation.differing)})" if explanation.differing else ""
    return f"NOT THE SAME: {remade.why}{where}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
