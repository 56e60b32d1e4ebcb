"""Legal histories of a deployment, folded by `evolve` and followed by a plain model."""

import runpy
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyfold.events import facts
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Key
from keyfold.events.evolve import evolve, get

EXAMPLES = runpy.run_path(str(Path(__file__).resolve().parents[1] / "vectors" / "examples.py"))
KEYS = [f"0193f3a0-7c00-7000-8000-{i:012x}" for i in range(3)]
GENESIS = next(event for event in EXAMPLES["events"]() if type(event).__name__ == "Genesis")
DECISION = EXAMPLES["decision"]("CreateKey")
SPEC: dict[str, Any] = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "SOFTWARE"}

keys = st.sampled_from(KEYS)


class Histories(RuleBasedStateMachine):
    """Policy's events in any legal order, with the worker's failures arriving late."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[facts.Event] = []
        self.view: dict[str, Entity] = {}
        self.status: dict[str, str] = {}
        self.versions: dict[str, list[str]] = {}
        self.made_at: dict[int, tuple[str, int]] = {}
        self.charged: dict[tuple[str, int], int] = {}
        self.revision = 0

    @initialize()
    def begin(self) -> None:
        self.fold(GENESIS)

    def fold(self, event: facts.Event) -> None:
        self.log.append(facts.parse_event(event.to_value()))
        before = dict(self.view)
        changes = evolve(self.view, event)
        assert self.view == before, "evolve changed the view that it was given"
        assert changes == evolve(self.view, event), "evolve is a function"
        self.view.update({name: entity for name, entity in changes.items() if entity is not None})
        for name in [name for name, entity in changes.items() if entity is None]:
            self.view.pop(name, None)

    def decide(self, kind: type[facts.Event], subject: str, **data: Any) -> None:
        decision = DECISION.model_copy(update={"offset": len(self.log)})
        self.fold(kind.new(str(len(self.log)), subject, EXAMPLES["TIME"], decision=decision, **data))

    def about(self, kind: type[facts.Event], key: str, **data: Any) -> None:
        self.decide(kind, f"key/{key}", key_id=key, **data)

    @rule(key=keys)
    def create(self, key: str) -> None:
        if key not in self.status:
            self.made_at[len(self.log)] = (key, 1)
            self.about(facts.KeyCreated, key, **SPEC, description="", tags={}, created_by="alice")
            self.status[key], self.versions[key] = "Enabled", ["Active"]

    @rule(key=keys)
    def rotate(self, key: str) -> None:
        if self.status.get(key) == "Enabled":
            version = len(self.versions[key]) + 1
            self.made_at[len(self.log)] = (key, version)
            self.about(facts.KeyRotated, key, **SPEC, version=version, cause="requested")
            self.versions[key].append("Active")

    @rule(key=keys, move=st.sampled_from(["enable", "disable", "schedule", "cancel", "destroy"]))
    def change(self, key: str, move: str) -> None:
        moves: dict[str, tuple[str, type[facts.Event], dict[str, Any], str]] = {
            "enable": ("Disabled", facts.KeyEnabled, {}, "Enabled"),
            "disable": ("Enabled", facts.KeyDisabled, {"reason": "x"}, "Disabled"),
            "schedule": (
                "Disabled",
                facts.KeyDeletionScheduled,
                {"deletion_date": EXAMPLES["LATER"]},
                "PendingDeletion",
            ),
            "cancel": ("PendingDeletion", facts.KeyDeletionCancelled, {}, "Disabled"),
            "destroy": ("PendingDeletion", facts.KeyDestroyed, {"versions": [1]}, "Destroyed"),
        }
        before, kind, data, after = moves[move]
        if self.status.get(key) == before:
            self.about(kind, key, **data)
            self.status[key] = after
            if after == "Destroyed":
                self.versions[key] = ["Destroyed"] * len(self.versions[key])

    @rule(key=keys, items=st.integers(1, 1000), verb=st.sampled_from(["Encrypt", "Decrypt"]))
    def use(self, key: str, items: int, verb: str) -> None:
        if self.status.get(key) == "Enabled":
            version = get(self.view, f"key/{key}", Key).current_version
            more: dict[str, Any] = {"verb": verb, "principal": "alice", "protection": "SOFTWARE", "bytes": 0}
            self.about(facts.CommandAuthorized, key, key_version=version, items=items, **more)
            if verb == "Encrypt":
                self.charged[key, version] = self.charged.get((key, version), 0) + items

    @precondition(lambda self: self.made_at)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.made_at)))
        key, version = self.made_at.pop(offset)
        verb = "CreateKey" if version == 1 else "RotateKey"
        outcome = {"command_id": KEYS[0], "command_digest": "0" * 64, "principal": "alice", "verb": verb}
        event = facts.OperationFailed.new(
            "x", f"key/{key}", EXAMPLES["TIME"], offset=offset, key_id=key, code="TokenUnavailable", **outcome
        )
        self.fold(event)
        if self.status[key] != "Destroyed":
            self.versions[key][version - 1] = "Failed"
            if "Active" not in self.versions[key]:
                self.status[key] = "Failed"

    @rule(name=st.sampled_from(["alias/a", "alias/b"]), key=keys)
    def alias(self, name: str, key: str) -> None:
        known = name in self.view
        self.decide(facts.AliasUpdated if known else facts.AliasCreated, "registry", alias=name, key_id=key)
        self.revision += 1

    @rule(name=st.sampled_from(["alias/a", "alias/b"]))
    def drop_alias(self, name: str) -> None:
        if name in self.view:
            self.decide(facts.AliasDeleted, "registry", alias=name)
            self.revision += 1
            assert name not in self.view

    @rule(name=st.sampled_from(["p", "q"]), text=st.sampled_from(["permit", "forbid"]))
    def policy(self, name: str, text: str) -> None:
        self.decide(facts.PolicyPut, "registry", policy=name, text=text)
        self.revision += 1

    @invariant()
    def same_as_the_model(self) -> None:
        for key, status in self.status.items():
            found = get(self.view, f"key/{key}", Key)
            assert found.status == status
            assert [v.status for v in found.versions] == self.versions[key]
            assert [v.version for v in found.versions] == list(range(1, len(found.versions) + 1))
            assert (found.deletion_date is not None) == (status == "PendingDeletion")
            if status not in {"Destroyed", "Failed"}:
                usable = [number for number, each in enumerate(self.versions[key], 1) if each == "Active"]
                assert found.current_version == max(usable)
            for version in found.versions:
                assert version.protected_items == self.charged.get((key, version.version), 0)

    @invariant()
    def revision_counts_registry_records(self) -> None:
        if self.log:
            assert get(self.view, DEPLOYMENT, Deployment).revision == self.revision

    def teardown(self) -> None:
        """A replay of the log's bytes gives the same view."""
        view: dict[str, Entity] = {}
        for event in self.log:
            for name, entity in evolve(view, event).items():
                if entity is None:
                    view.pop(name)
                else:
                    view[name] = entity
        assert view == self.view


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
