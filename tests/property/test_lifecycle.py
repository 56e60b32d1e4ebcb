"""The state machine of keys and versions: what policy decides is what the model of `states` says, step by step.

Random lives with time jumps and the HSM worker's late outcomes; beside them every verb in every state, and every pair.
"""

from copy import copy, deepcopy
from functools import cache
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.kinds import import_outcome
from tests.property.states import KIND_OF, MAY, REFUSAL, STATES, Model
from tests.support.desk import outcome_of
from tests.support.forks import fork
from tests.support.office import KEY, WEEK, Office
from tests.support.people import command, uuid

from keyfold.events import facts
from keyfold.events.commands import BY_VERB
from keyfold.events.entities import Key
from keyfold.events.evolve import PROTECTING
from keyfold.events.key_states import state_of
from keyfold.events.specs import USAGE_OF_VERB
from keyfold.events.times import DAY_MS, HOUR_MS, to_text

Move = tuple[str, int, int]
"""A verb, `protect` or `process`, or what happens by itself; and two choices of how."""
RULES: Final = """
permit (principal in Group::"administrators", action, resource);
permit (principal, action in [
    Action::"Encrypt", Action::"Decrypt", Action::"ReEncrypt", Action::"Sign", Action::"Verify"
], resource);
"""
SIGNING: Final = {"signing_algorithm": "ECDSA_SHA_256"}
KEY_ID: Final = KEY.removeprefix("key/")
NO_TOKEN: Final = uuid(0xABC)
CAUSES: Final = ("requested", "requested", "compromise", "period")
JUMPS_MS: Final = (1, HOUR_MS, DAY_MS, WEEK * 1000 - 1, WEEK * 1000, 90 * DAY_MS)
ENDS: Final = (None, None, None, HOUR_MS, 2 * DAY_MS, 0)
BOUNDS: Final = (None, "never", "never", -HOUR_MS, HOUR_MS, 2 * DAY_MS)
USES: Final = {False: ("Encrypt", "Decrypt", "ReEncrypt"), True: ("Sign", "Verify")}
WEIGHTS: Final = {
    "CreateKey": 1, "RotateKey": 9, "EnableKey": 5, "DisableKey": 2, "ScheduleKeyDeletion": 2, "CancelKeyDeletion": 5,
    "DestroyKey": 2, "DestroyKeyNow": 1, "UpdateKeyValidity": 4, "EnableKeyRotation": 2, "DisableKeyRotation": 1,
    "DisableKeyVersion": 6, "EnableKeyVersion": 4, "DestroyKeyVersion": 6, "MarkKeyCompromised": 3, "GetPublicKey": 2,
    "GetParametersForImport": 1, "ImportKeyMaterial": 1, "DeleteImportedKeyMaterial": 1,
    "protect": 8, "process": 8, "time": 10, "done": 20, "fail": 3,
}  # fmt: skip
"""How often each verb is asked; uses by kind; `time` passes, and the worker's next outcome is `done` or `fail`."""
IMPORTS: Final = {"GetParametersForImport": 3, "ImportKeyMaterial": 12, "DeleteImportedKeyMaterial": 4}


def _moves(weights: dict[str, int]) -> st.SearchStrategy[Move]:
    return st.tuples(
        st.sampled_from([move for move, weight in weights.items() for _ in range(weight)]),
        st.integers(0, 5),
        st.integers(0, 5),
    )


def _lives(external: bool, weights: dict[str, int]) -> st.SearchStrategy[tuple[bool, list[Move]]]:
    return st.tuples(st.just(external), st.lists(_moves(weights), min_size=20, max_size=60))


lives = st.one_of(_lives(False, WEIGHTS), _lives(True, WEIGHTS | IMPORTS))


@cache
def _office(development: bool) -> Office:
    made = Office(rules=RULES, development=development)
    made.register("carol")
    return made


class Life:
    """One key in an office, and the model of it. Each step is decided by both, which must agree."""

    def __init__(
        self, *, external: bool, signing: bool, development: bool = False, begin: int = 0, end: int = 0
    ) -> None:
        self.made = fork(_office(development))
        bounds = [_after(self.made.now_ms, BOUNDS[each]) for each in (begin, end)]
        bounds = [None if bound == "never" else bound for bound in bounds]
        if bounds[1] is not None and (BOUNDS[end] == -HOUR_MS or end <= begin):
            bounds[1] = None
        kind = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"} if signing else {}
        arguments = {"origin": "EXTERNAL" if external else "KEYFOLD", **kind}
        created = self.made.ask("CreateKey", arguments=arguments | dict(zip(_BOUNDS, bounds, strict=True)))
        assert isinstance(created, facts.KeyCreated), created
        self.model = Model(self.made.now_ms, external, signing, development)
        self.model.asked("UpdateKeyValidity", "alice", dict(zip(_BOUNDS, bounds, strict=True)))
        self.tickets: list[facts.PolicyEvent] = [created]
        self.gone: set[int] = set()

    @property
    def key(self) -> Key:
        return self.made.key()

    def fork(self) -> "Life":
        """A copy that goes on by itself."""
        other = copy(self)
        other.made, other.model = fork(self.made), deepcopy(self.model)
        other.made.authorizer = self.made.authorizer
        other.tickets, other.gone = list(self.tickets), set(self.gone)
        return other

    def grow(self, versions: int) -> "Life":
        """Have so many versions made, or imported, with the worker's word for all of it."""
        self.step("done")
        for number in range(versions):
            if number:
                self.step("RotateKey")
                self.step("done")
            if self.model.external:
                self.step("ImportKeyMaterial")
                self.step("done")
        return self

    def step(self, move: str, a: int = 0, b: int = 0) -> str | None:
        """Do something and compare; return the code of what was refused."""
        model = self.model
        if move == "ImportKeyMaterial" and self.key.import_parameters is None and b < 4:
            self.step("GetParametersForImport", a, b)
        if move == "time":
            self.made.now_ms += JUMPS_MS[a]
            model.now_ms = self.made.now_ms
        elif move in {"done", "fail"}:
            self._work(done=move == "done")
        else:
            verbs = [verb for verb in USES[model.signing] if KIND_OF[verb] == move] or [move]
            verb, by = verbs[a % len(verbs)], ("carol", "alice")[b % 2]
            return self.ask(verb, by if move != verb else "alice", self._arguments(verb, a, b))
        self.check()
        return None

    def ask(self, verb: str, by: str, arguments: dict[str, Any]) -> str | None:
        """Let both decide one command."""
        made = self.made
        made.number += 1
        before = len(made.events)
        if verb == "GetParametersForImport":
            expected = self.model.asked(verb, by, {**arguments, "import_token": uuid(made.number)})
        else:
            expected = self.model.asked(verb, by, {name: v for name, v in arguments.items() if name in _MODELLED})
        made.decide(command(verb, KEY, made.number, principal=by, issued_ms=made.now_ms, arguments=arguments))
        event = made.events[before] if len(made.events) > before else None
        code = made.reply() if event is None else getattr(event.data, "code", None)
        assert code == expected, (verb, by, arguments, self.model)
        if code is None:
            assert isinstance(event, facts.PolicyEvent)
            self._accepted(verb, by, event)
        self.check()
        return code

    def _accepted(self, verb: str, by: str, event: facts.PolicyEvent) -> None:
        if verb in {"RotateKey", "ImportKeyMaterial"}:
            self.tickets.append(event)
        if verb not in {*USES[True], *USES[False]}:
            return
        assert isinstance(event, facts.CommandAuthorized)
        used, usable = event.data.key_version, self.model.usable(by)
        if verb in PROTECTING:
            current = self.model.current
            assert (used, current.status, current.marked_ms) == (current.number, "Active", None)
        if verb in {"Decrypt", "ReEncrypt"}:
            kept = {version.number for version in self.model.versions if version.kept}
            assert kept - usable == {*event.data.refused_versions}
        else:
            assert used in usable

    def _work(self, *, done: bool) -> None:
        if not self.tickets:
            return
        event = self.tickets.pop(0)
        self.model.worked(done=done)
        if isinstance(event, facts.CommandAuthorized):
            self.made.finish(import_outcome(event, self.key, done=done))
        elif not done:
            self.made.finish(outcome_of(event, facts.OperationFailed, key_id=KEY_ID, code="TokenUnavailable"))

    def check(self) -> None:
        """The state, the current version and what is said of every version are the model's; destroyed is for good."""
        key, model, now_ms = self.key, self.model, self.made.now_ms
        assert state_of(key, now_ms) == model.state
        assert key.current_version == model.current.number
        found = [(v.version, v.status, v.has_material(now_ms), v.compromised) for v in key.versions]
        assert found == [(v.number, v.status, v.has_material(now_ms), v.marked_ms is not None) for v in model.versions]
        destroyed = {v.version for v in key.versions if v.status == "Destroyed"}
        assert self.gone <= destroyed
        self.gone = destroyed

    def _arguments(self, verb: str, a: int, b: int) -> dict[str, Any]:  # noqa: PLR0911 - one verb a line
        now_ms, version = self.made.now_ms, 1 + a % (len(self.key.versions) + 1)
        named = None if b < 3 else version
        match verb:
            case "RotateKey":
                return {"cause": CAUSES[a % len(CAUSES)]}
            case "ScheduleKeyDeletion":
                return {"pending_window_seconds": (WEEK, WEEK - 1, 2 * WEEK)[a % 3]}
            case "UpdateKeyValidity":
                return dict(zip(_BOUNDS, (_after(now_ms, BOUNDS[each]) for each in (a, b)), strict=True))
            case "EnableKeyRotation":
                return {"rotation_period_seconds": 90 * 86_400 - a // 5}
            case "DisableKeyVersion" | "EnableKeyVersion" | "DestroyKeyVersion":
                return {"version": version}
            case "MarkKeyCompromised":
                return {"versions": None if b == 0 else [version], "occurred_at": to_text(now_ms + (b == 5))}
            case "GetParametersForImport" | "GetPublicKey":
                return {"key_version": named}
            case "ImportKeyMaterial":
                known = self.key.import_parameters
                token = NO_TOKEN if known is None or b == 5 else known.import_token
                return {"import_token": token, "valid_to": _after(now_ms, ENDS[a])}
            case "DeleteImportedKeyMaterial":
                return {"key_version": named, "cause": ("requested", "expired")[b % 2]}
            case "Sign":
                return SIGNING
            case "Verify":
                return SIGNING | {"key_version": None if a == 0 else version}
        return {}


_BOUNDS: Final = ("not_before", "not_after")
_MODELLED: Final = {
    "cause", "pending_window_seconds", *_BOUNDS, "rotation_period_seconds", "version", "versions", "occurred_at",
    "key_version", "import_token", "valid_to",
}  # fmt: skip


def _after(now_ms: int, wish: int | str | None) -> str | None:
    return to_text(now_ms + wish) if isinstance(wish, int) else wish


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    life=lives,
    signing=st.booleans(),
    development=st.sampled_from((False, False, True)),
    ends=st.one_of(st.just((0, 0)), st.tuples(st.integers(0, 5), st.integers(0, 5))),
    versions=st.sampled_from((0, 1, 3)),
)
def test_a_life_by_the_book(
    life: tuple[bool, list[Move]], signing: bool, development: bool, ends: tuple[int, int], versions: int
) -> None:
    """Each command is accepted exactly where the model allows it, else refused by the model's code.

    Old versions never protect, nor what is compromised; destroyed is final; material is never used after its end.
    """
    external, story = life
    living = Life(external=external, signing=signing, development=development, begin=ends[0], end=ends[1])
    living.grow(versions)
    for move in story:
        living.step(*move)


# Every pair, and every state

PAIRED: Final[tuple[Move, ...]] = (
    ("CreateKey", 0, 0), ("RotateKey", 0, 0), ("RotateKey", 2, 0), ("EnableKey", 0, 0), ("DisableKey", 0, 0),
    ("ScheduleKeyDeletion", 0, 0), ("CancelKeyDeletion", 0, 0), ("DestroyKey", 0, 0), ("DestroyKeyNow", 0, 0),
    ("UpdateKeyValidity", 0, 4), ("UpdateKeyValidity", 5, 0), ("EnableKeyRotation", 0, 0), ("DisableKeyRotation", 0, 0),
    ("DisableKeyVersion", 1, 0), ("EnableKeyVersion", 0, 0), ("DestroyKeyVersion", 0, 0), ("DestroyKeyVersion", 1, 0),
    ("MarkKeyCompromised", 0, 0), ("MarkKeyCompromised", 2, 1), ("GetPublicKey", 0, 3),
    ("GetParametersForImport", 0, 0), ("GetParametersForImport", 1, 3), ("ImportKeyMaterial", 3, 0),
    ("DeleteImportedKeyMaterial", 0, 0), ("protect", 0, 0), ("process", 0, 0), ("process", 1, 1), ("process", 3, 0),
    ("time", 4, 0), ("done", 0, 0), ("fail", 0, 0),
)  # fmt: skip


A_WEEK_LESS: Final[Move] = ("time", 3, 0)
"""All but a millisecond of the time for which a version rests before it is destroyed."""


@cache
def ready(external: bool) -> Life:
    """Three versions, the first disabled for a week; a tag and a policy. A fourth waits for an open import."""
    life = Life(external=external, signing=external).grow(3)
    life.step("DisableKeyVersion", 0)
    life.step("time", 4)
    for move in ("RotateKey", "done", "GetParametersForImport") if external else ():
        life.step(move)
    made = life.made
    assert made.code("TagResource", arguments={"tags": {"team": "shop"}}) is None
    assert made.code("PutPolicy", arguments=_POLICY) is None
    life.model.commands = made.number
    return life


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("first", PAIRED, ids=str)
def test_every_pair(first: Move, external: bool) -> None:
    """One thing after any other, at once or much later: refused or not, and what comes of it, as the model says."""
    for pause in ((), (A_WEEK_LESS,)):
        begun = ready(external).fork()
        for move in (first, *pause):
            begun.step(*move)
        for second in PAIRED:
            life = begun.fork()
            life.step(*second)
            life.step("done")


_POLICY: Final = {"policy": "own", "text": 'permit (principal == Principal::"alice", action, resource);'}
_TO_STATE: Final[dict[str, tuple[Move, ...]]] = {
    "Enabled": (),
    "PendingImport": (("DeleteImportedKeyMaterial", 0, 0),),
    "PreActive": (("UpdateKeyValidity", 5, 0),),
    "Disabled": (("DisableKey", 0, 0),),
    "Expired": (("UpdateKeyValidity", 0, 4), ("time", 1, 0)),
    "Compromised": (("MarkKeyCompromised", 2, 1),),
    "PendingDeletion": (("ScheduleKeyDeletion", 0, 0), ("time", 4, 0)),
    "Destroyed": (("DestroyKeyNow", 0, 0),),
}
_KEYS: Final = {
    "ENCRYPT_DECRYPT": ("SYMMETRIC_DEFAULT", {}),
    "SIGN_VERIFY": ("ECC_NIST_P256", SIGNING),
    "GENERATE_VERIFY_MAC": ("HMAC_256", {"mac_algorithm": "HMAC_SHA_256"}),
    "KEY_AGREEMENT": ("ECC_NIST_P256", {}),
    "KEY_ENCAPSULATION": ("ML_KEM_768", {}),
}


def _said(verb: str, life: Life) -> dict[str, Any]:
    """Arguments with which nothing but the state could refuse the verb."""
    now_ms, token = life.made.now_ms, life.key.import_parameters
    told: dict[str, dict[str, Any]] = {
        "ScheduleKeyDeletion": {"pending_window_seconds": WEEK},
        "TagResource": {"tags": {"a": "b"}},
        "UntagResource": {"tag_keys": ["team"]},
        "UpdateUsageBudget": {"items": 5},
        "EnableKeyRotation": {"rotation_period_seconds": 90 * 86_400},
        "DisableKeyVersion": {"version": 2},
        "EnableKeyVersion": {"version": 1},
        "DestroyKeyVersion": {"version": 1},
        "MarkKeyCompromised": {"occurred_at": to_text(now_ms)},
        "ImportKeyMaterial": {"import_token": NO_TOKEN if token is None else token.import_token},
        "DeleteImportedKeyMaterial": {"key_version": 2},
        "CreateGrant": {"grantee": "carol", "verbs": ["Encrypt"], "expires_at": to_text(now_ms + HOUR_MS)},
        "PutPolicy": _POLICY,
        "DeletePolicy": {"policy": "own"},
        "ReEncryptFrom": {"destination_key_id": KEY_ID},
        "ReEncryptTo": {"source_key_id": KEY_ID},
        "GenerateDataKeyPair": {"key_pair_spec": "RSA_2048"},
        "GenerateDataKeyPairWithoutPlaintext": {"key_pair_spec": "RSA_2048"},
    }
    return told.get(verb) or _KEYS[USAGE_OF_VERB.get(verb, "ENCRYPT_DECRYPT")][1]


@pytest.mark.parametrize("state", STATES)
def test_every_verb_in_every_state(state: str) -> None:
    """A verb is refused by the state's own code, or by nothing."""
    life = Life(external=True, signing=False) if state == "Failed" else ready(external=True).fork()
    for move in _TO_STATE.get(state, (("fail", 0, 0),)):
        life.step(*move)
    assert state_of(life.key, life.made.now_ms) == state
    for verb, kind in KIND_OF.items():
        made = fork(life.made)
        usage = USAGE_OF_VERB.get(verb, "SIGN_VERIFY" if verb == "GetPublicKey" else "ENCRYPT_DECRYPT")
        own = {
            "key_spec": _KEYS[usage][0],
            "key_usage": usage,
            "origin": "KEYFOLD" if verb == "EnableKeyRotation" else "EXTERNAL",
        }
        made.state.entities[KEY] = made.key().model_copy(update=own)
        assert made.code(verb, arguments=_said(verb, life)) == (None if state in MAY[kind] else REFUSAL[state]), verb


def test_every_verb_about_a_key_has_its_states() -> None:
    """The table of the model is whole; ending a grant is possible in any state, and a key is created where none is."""
    on_keys = {verb for verb, model in BY_VERB.items() if model.scope == "key"} | {"PutPolicy", "DeletePolicy"}
    assert set(KIND_OF) == on_keys - {"CreateKey", "RetireGrant", "RevokeGrant"}
    assert {verb for verb, kind in KIND_OF.items() if kind == "protect"} == PROTECTING
