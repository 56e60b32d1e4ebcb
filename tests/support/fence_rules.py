"""The rules about fences: no key and no version is used by a command behind one that stopped it. See `log_checker`.

What was decided is read from policy's facts, without policy's code: the last one before a command's offset counts.
"""

from collections import defaultdict
from collections.abc import Iterator

from tests.support.log_story import Story

from keyfold.events import facts

_FENCING = facts.KeyDisabled | facts.KeyDeletionScheduled | facts.KeyDeletionCancelled | facts.KeyDestroyed
_VERSIONS = facts.KeyVersionDisabled | facts.KeyVersionEnabled | facts.KeyVersionDestroyed
_NO_USE = {"GetPublicKey", "ImportKeyMaterial"}
"""Verbs about a key that need not be enabled."""


def check_fences(story: Story) -> None:
    """Apply the rules to every use of a key, and to every authorization of one."""
    _keys(story)
    _versions(story)
    _authorized(story)


def _uses(story: Story) -> Iterator[tuple[int, facts.Event]]:
    """Yield uses and authorizations with their commands' offsets."""
    for _, event in story.all_events():
        if isinstance(event, facts.KeyUsed):
            yield event.data.offset, event
        elif isinstance(event, facts.CommandAuthorized) and event.data.key_id and event.data.verb not in _NO_USE:
            yield event.data.decision.offset, event


def _keys(story: Story) -> None:
    """No use of a key by a command that came after one that disables it, until one that enables it."""
    changes: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for _, event in story.accepted():
        if isinstance(event, facts.KeyCreated | facts.KeyEnabled | _FENCING):
            changes[event.subject].append((event.data.decision.offset, not isinstance(event, _FENCING)))
    for offset, use in _uses(story):
        before = [usable for at, usable in changes[use.subject] if at < offset]
        if not before or not before[-1]:
            story.find("fence", use.id, "the key was not enabled when its command came")


def _versions(story: Story) -> None:
    """The same for versions: what was used, or was to be, is neither disabled nor destroyed."""
    changes: dict[tuple[str, int], list[tuple[int, bool]]] = defaultdict(list)
    for _, event in story.accepted():
        if isinstance(event, _VERSIONS):
            usable = isinstance(event, facts.KeyVersionEnabled)
            changes[event.subject, event.data.version].append((event.data.decision.offset, usable))
    for offset, use in _uses(story):
        for version in _used(use) | _opened(use):
            before = [usable for at, usable in changes[use.subject, version] if at < offset]
            if before and not before[-1]:
                story.find("fence", use.id, f"version {version} was not active when its command came")


def _used(use: facts.Event) -> set[int]:
    if isinstance(use, facts.KeyUsed):
        return {int(version) for version in use.data.versions}
    assert isinstance(use, facts.CommandAuthorized)
    return set() if use.data.key_version is None else {use.data.key_version}


def _opened(use: facts.Event) -> set[int]:
    """What ReEncrypt opened with."""
    return {int(version) for version in use.data.opened} if isinstance(use, facts.KeyUsed) else set()


def _authorized(story: Story) -> None:
    """What was used is what policy let be used: the version that it named, and none that it refused."""
    authorized = {
        (partition, event.data.decision.offset): event.data
        for partition, event in story.accepted()
        if isinstance(event, facts.CommandAuthorized)
    }
    for partition, use in story.outcomes():
        decided = authorized.get((partition, use.data.offset))
        if not isinstance(use, facts.KeyUsed) or decided is None:
            continue
        versions = _used(use)
        if (versions | _opened(use)) & set(decided.refused_versions):
            story.find("fence", use.id, "a version was used that policy refused")
        if decided.key_version is not None and not versions <= {decided.key_version}:
            story.find("fence", use.id, f"used {sorted(versions)}, policy named version {decided.key_version}")
