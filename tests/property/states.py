"""The states of a key and of its versions by the book: a model to hold decisions against, written without them.

Sources: NIST SP 800-57 part 1 rev. 5, section 7 (7.1 pre-activation, 7.2 active, 7.3 suspended, here Disabled, 7.4
deactivated, here Expired, 7.5 compromised, 7.6 destroyed) and decisions 27 to 30. Whether a principal may is not asked
here, but for compromised versions. Times are milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.events.times import DAY_MS, to_milliseconds

STATES: Final = (
    "PendingImport", "PreActive", "Enabled", "Disabled", "Expired", "Compromised", "PendingDeletion", "Destroyed",
    "Failed",
)  # fmt: skip
TABLE: Final = """
protect      - - x - - - - - -
process      - - x - x x - - -
rotate       - - x - - x - - -
publish      - x x x x x x - -
govern       x x x x x x - - -
permit       x x x x x x x - -
mark         x x x x x x x x -
cancel       - - - - - - x - -
destroy      - - - - - - x - -
destroy-now  x x x x x x x - x
"""
"""What is done in which of `STATES`. Only an active key protects; what is protected is also processed by a deactivated
or a compromised one (its versions are looked at then); a destroyed key can still become known as compromised."""
MAY: Final = {
    name: {state for state, mark in zip(STATES, marks, strict=True) if mark == "x"}
    for name, *marks in (line.split() for line in TABLE.strip().splitlines())
}
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "protect": ("Encrypt", "ReEncrypt", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
                "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "Sign", "GenerateMac", "Encapsulate"),
    "process": ("Decrypt", "ReEncryptFrom", "Verify", "VerifyMac", "DeriveSharedSecret", "Decapsulate"),
    "rotate": ("RotateKey",),
    "publish": ("GetPublicKey",),
    "govern": ("EnableKey", "DisableKey", "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateUsageBudget",
               "UpdateKeyValidity", "EnableKeyRotation", "DisableKeyRotation", "DisableKeyVersion", "EnableKeyVersion",
               "DestroyKeyVersion", "GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial",
               "CreateGrant"),
    "permit": ("PutPolicy", "DeletePolicy"),
    "mark": ("MarkKeyCompromised",),
    "cancel": ("CancelKeyDeletion",),
    "destroy": ("DestroyKey",),
    "destroy-now": ("DestroyKeyNow",),
}  # fmt: skip
KIND_OF: Final = {verb: kind for kind, verbs in KINDS.items() for verb in verbs}
REFUSAL: Final = {
    "PendingImport": "KeyPendingImport", "PreActive": "KeyNotYetValid", "Enabled": "InvalidState",
    "Disabled": "KeyDisabled", "Expired": "KeyExpired", "Compromised": "KeyCompromised",
    "PendingDeletion": "KeyPendingDeletion", "Destroyed": "KeyDestroyed", "Failed": "InvalidState",
}  # fmt: skip
BEHIND: Final = "RegistryBehind"
REST_MS: Final = 7 * DAY_MS
SHORTEST_PERIOD_MS: Final = 90 * DAY_MS
PERMITTED: Final = "alice"
"""Who may use compromised versions; others may not."""


class Refused(Exception):
    """The model's refusal, with the code that policy must give."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def demand(holds: bool, code: str) -> None:
    """Refuse by this code what does not hold."""
    if not holds:
        raise Refused(code)


@dataclass
class Version:
    """`had` says that there was material once; `told` is the command that imported or deleted it last."""

    number: int
    made_ms: int
    had: bool
    there: bool
    status: str = "Active"
    told: int = 0
    ends_ms: int | None = None
    disabled_ms: int | None = None
    marked_ms: int | None = None

    @property
    def kept(self) -> bool:
        """Neither destroyed nor failed."""
        return self.status in {"Active", "Disabled"}

    def has_material(self, now_ms: int) -> bool:
        return self.there and (self.ends_ms is None or now_ms < self.ends_ms)

    def usable(self, now_ms: int, by: str) -> bool:
        sound = self.status == "Active" and self.has_material(now_ms)
        return sound and (self.marked_ms is None or by == PERMITTED)


@dataclass
class Model:
    """One key. `asked` says what must come of a command and takes it for done, `worked` takes the worker's outcome."""

    now_ms: int
    external: bool = False
    signing: bool = False
    development: bool = False
    begin_ms: int | None = None
    end_ms: int | None = None
    period_ms: int | None = None
    period_since_ms: int = 0
    status: str = "Enabled"
    deletion_ms: int | None = None
    token: tuple[str, int, int] | None = None
    importing: int | None = None
    commands: int = 0
    versions: list[Version] = field(default_factory=list)
    waiting: list[tuple[str, int, int, int | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._make()

    # States

    @property
    def current(self) -> Version:
        """The newest active version that ever had material; where none is, one that is disabled, or that waits."""
        kept = [version for version in self.versions if version.kept]
        had = [version for version in kept if version.had]
        active = [version for version in had if version.status == "Active"]
        return (active or had or kept[:1] or self.versions)[-1]

    @property
    def state(self) -> str:
        """What was decided about the whole key hides what is wrong with its material; that hides what time does."""
        if self.status == "Destroyed" or not any(version.kept for version in self.versions):
            return "Destroyed" if self.status == "Destroyed" else "Failed"
        if self.status != "Enabled":
            return self.status
        if not self.current.has_material(self.now_ms):
            return "PendingImport"
        if self.current.marked_ms is not None:
            return "Compromised"
        if self.begin_ms is not None and self.now_ms < self.begin_ms:
            return "PreActive"
        return "Expired" if self.end_ms is not None and self.end_ms <= self.now_ms else "Enabled"

    # What is asked

    def asked(self, verb: str, by: str, arguments: dict[str, Any]) -> str | None:
        """Return the code by which a command must be refused, or None and the model is what it has become."""
        self.commands += 1
        if verb == "CreateKey":
            return "AlreadyExists"
        try:
            allowed = self.state in MAY[KIND_OF[verb]]
            self._behind(not allowed and self.state == "PendingImport" and KIND_OF[verb] in _NEED_MATERIAL)
            demand(allowed, REFUSAL[self.state])
            if verb in _USES:
                self._use(verb, by, arguments.get("key_version"))
            else:
                _RULES[verb](self, **arguments)
        except Refused as refused:
            return refused.code
        return None

    def _behind(self, material_is_needed: bool) -> None:
        """What an import under way would allow is no decision yet."""
        demand(not material_is_needed or self.importing is None, BEHIND)

    def _find(self, number: int, *statuses: str) -> Version:
        demand(number <= len(self.versions), "NotFound")
        version = self.versions[number - 1]
        demand(version.status in statuses, "KeyVersionUnusable")
        return version

    def usable(self, by: str) -> set[int]:
        """The versions that open or verify for somebody."""
        return {version.number for version in self.versions if version.usable(self.now_ms, by)}

    def _use(self, verb: str, by: str, chosen: int | None) -> None:
        """Symmetric ciphertexts name their version: one is enough; else it is the one that is named, or the current."""
        if verb in {"Decrypt", "ReEncrypt"}:
            compromised = self.usable(PERMITTED) - self.usable(by)
            demand(bool(self.usable(by)), "KeyCompromised" if compromised else "KeyVersionUnusable")
            return
        version = self._find(self.current.number if chosen is None else chosen, "Active")
        self._behind(not version.has_material(self.now_ms))
        demand(version.has_material(self.now_ms), "KeyVersionUnusable")
        demand(version.usable(self.now_ms, by), "KeyCompromised")

    def _publish(self, key_version: int | None = None) -> None:
        demand(self.signing, "InvalidKeyUsage")
        number = self.current.number if key_version is None else key_version
        demand(number <= len(self.versions) and self.versions[number - 1].kept, "KeyVersionUnusable")

    def _rotate(self, cause: str) -> None:
        since = max(self.current.made_ms, self.period_since_ms)
        over = self.period_ms is not None and since + self.period_ms <= self.now_ms
        demand(cause != "period" or over, "InvalidState")
        demand(cause != "compromise" or self.current.marked_ms is not None, "InvalidState")
        self._make()

    def _make(self) -> None:
        number = len(self.versions) + 1
        self.versions.append(Version(number, self.now_ms, not self.external, not self.external))
        self.waiting.append(("making", number, self.commands, None))

    def _set(self, status: str, deletion_ms: int | None = None) -> None:
        self.status, self.deletion_ms = status, deletion_ms

    def _schedule(self, pending_window_seconds: int) -> None:
        demand(self.development or pending_window_seconds * 1000 >= REST_MS, "InvalidCommand")
        self._set("PendingDeletion", self.now_ms + pending_window_seconds * 1000)

    def _destroy(self, *, now: bool) -> None:
        demand(now or (self.deletion_ms or 0) <= self.now_ms, "InvalidState")
        self._set("Destroyed")
        self.token = None
        for version in self.versions:
            version.status = "Destroyed"

    def _bound(self, not_before: str | None, not_after: str | None) -> None:
        old = (self.begin_ms, self.end_ms)
        begin, end = (
            before if wish is None else None if wish == "never" else to_milliseconds(wish)
            for wish, before in zip((not_before, not_after), old, strict=True)
        )
        named = not_before is not None or not_after is not None
        demand(not named or begin is None or end is None or begin < end, "InvalidCommand")
        self.begin_ms, self.end_ms = begin, end

    def _rotate_by_period(self, rotation_period_seconds: int | None = None) -> None:
        if rotation_period_seconds is not None:
            demand(not self.external, "InvalidCommand")
            long = rotation_period_seconds * 1000 >= SHORTEST_PERIOD_MS
            demand(self.development or long, "InvalidCommand")
        self.period_ms = None if rotation_period_seconds is None else rotation_period_seconds * 1000
        self.period_since_ms = self.now_ms

    # Versions

    def _disable_version(self, version: int) -> None:
        found = self._find(version, "Active")
        demand(found is not self.current, "InvalidState")
        found.status, found.disabled_ms = "Disabled", self.now_ms

    def _enable_version(self, version: int) -> None:
        found = self._find(version, "Disabled")
        found.status, found.disabled_ms = "Active", None

    def _destroy_version(self, version: int) -> None:
        found = self._find(version, "Active", "Disabled")
        demand(found is not self.current, "InvalidState")
        idle = [at_ms for at_ms in (found.disabled_ms, found.marked_ms) if at_ms is not None]
        demand(bool(idle), "InvalidState")
        demand(self.development or self.now_ms - min(idle) >= REST_MS, "InvalidState")
        found.status = "Destroyed"

    def _mark(self, occurred_at: str, versions: list[int] | None = None) -> None:
        demand(to_milliseconds(occurred_at) <= self.now_ms, "InvalidCommand")
        known = [version.number for version in self.versions if version.status != "Failed"]
        for version in [self._find(number, "Active", "Disabled", "Destroyed") for number in versions or known]:
            version.marked_ms = self.now_ms if version.marked_ms is None else version.marked_ms

    # Import

    def _parameters(self, import_token: str, key_version: int | None = None) -> None:
        demand(self.external, "InvalidState")
        awaited = (version.number for version in self.versions if version.kept and not version.there)
        number = next(awaited, self.current.number) if key_version is None else key_version
        version = self._find(number, "Active", "Disabled")
        self.token = import_token, version.number, self.now_ms + DAY_MS

    def _import(self, import_token: str, valid_to: str | None = None) -> None:
        demand(self.external, "InvalidState")
        if self.token is None or self.token[0] != import_token:
            raise Refused("ImportTokenInvalid")
        _, number, over_ms = self.token
        demand(self.now_ms < over_ms, "ImportTokenExpired")
        ends_ms = None if valid_to is None else to_milliseconds(valid_to)
        demand(ends_ms is None or self.now_ms < ends_ms, "InvalidCommand")
        self._find(number, "Active", "Disabled")
        self.token, self.importing = None, self.commands
        self.waiting.append(("import", number, self.commands, ends_ms))

    def _delete(self, cause: str, key_version: int | None = None) -> None:
        demand(self.external, "InvalidState")
        number = self.current.number if key_version is None else key_version
        version = self._find(number, "Active", "Disabled")
        self._behind(not version.there)
        demand(version.there, "KeyPendingImport")
        over = version.ends_ms is not None and version.ends_ms <= self.now_ms
        demand(cause == "requested" or over, "InvalidState")
        version.there, version.ends_ms, version.told = False, None, self.commands

    # What the worker states

    def worked(self, *, done: bool) -> None:
        """The worker's outcome of the oldest command that makes or imports material."""
        what, number, command, ends_ms = self.waiting.pop(0)
        version = self.versions[number - 1]
        if what == "making":
            version.status = version.status if done or version.status == "Destroyed" else "Failed"
            return
        self.importing = None if self.importing == command else self.importing
        if done and version.told < command:
            version.there, version.had, version.ends_ms, version.told = True, True, ends_ms, command


_NEED_MATERIAL: Final = frozenset({"protect", "process", "rotate", "publish"})
_USES: Final = frozenset({"Encrypt", "Decrypt", "ReEncrypt", "Sign", "Verify"})
_RULES: Final[dict[str, Callable[..., None]]] = {
    "RotateKey": Model._rotate,
    "EnableKey": lambda model: model._set("Enabled"),
    "DisableKey": lambda model: model._set("Disabled"),
    "ScheduleKeyDeletion": Model._schedule,
    "CancelKeyDeletion": lambda model: model._set("Disabled"),
    "DestroyKey": lambda model: model._destroy(now=False),
    "DestroyKeyNow": lambda model: model._destroy(now=True),
    "UpdateKeyValidity": Model._bound,
    "EnableKeyRotation": Model._rotate_by_period,
    "DisableKeyRotation": Model._rotate_by_period,
    "DisableKeyVersion": Model._disable_version,
    "EnableKeyVersion": Model._enable_version,
    "DestroyKeyVersion": Model._destroy_version,
    "MarkKeyCompromised": Model._mark,
    "GetPublicKey": Model._publish,
    "GetParametersForImport": Model._parameters,
    "ImportKeyMaterial": Model._import,
    "DeleteImportedKeyMaterial": Model._delete,
}
