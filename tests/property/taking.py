"""What carol is given and what is taken away again, as a small model beside the office that decides it.

The model knows only what each command does to what carol may: her standing, her two signing keys, grants, the state of
one key, and a `forbid` on the registry and on the key. It says what must come of a command before it is decided.
"""

import json
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st
from tests.support.forks import codes, fork
from tests.support.office import KEY, Office, bare
from tests.support.people import START_MS, Signed, command, document, signed_by, signer, uuid

from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, to_text

AT_KEY: Final = ("encrypt", "encrypt-2", "disable", "enable", "grant", "ungrant", "stop", "go")
AT_REGISTRY: Final = ("suspend", "resume", "alias", "alias-2", "forbid", "permit")
ONCE: Final = ("revoke-key", "revoke")
RULES: Final = 'permit (principal == Principal::"carol", action == Action::"CreateAlias", resource);'
FORBID: Final = (
    'forbid (principal == Principal::"carol", action in [Action::"Encrypt", Action::"CreateAlias"], resource);'
)
batches: Final = st.lists(
    st.one_of(
        st.tuples(st.just(KEY), st.lists(st.sampled_from(AT_KEY), min_size=1, max_size=6)),
        st.tuples(st.just(REGISTRY), st.lists(st.sampled_from(AT_REGISTRY * 3 + ONCE), min_size=1, max_size=4)),
    ),
    min_size=4,
    max_size=12,
)


@cache
def _office() -> Office:
    made = bare(RULES)
    made.register("carol")
    second = {"principal": "carol", "public_key": signer("carol-2").public_key.hex()}
    assert made.code("AddSigningKey", REGISTRY, arguments=second) is None
    return made


class Taking:
    """The model and its office. `expected` adds a command to the next batch, `decide` decides the batch."""

    def __init__(self) -> None:
        self.made = fork(_office())
        self.status, self.first_key = "Active", True
        self.forbidden = self.stopped = self.disabled = False
        self.grants: list[str] = []
        self.waiting: list[Signed] = []

    def expected(self, place: str, token: str) -> str | None:
        """Add a command; return the code that it must be denied with, `rejected` where it is none, or None."""
        self.made.number += 1
        return self._at_key(token) if place == KEY else self._at_registry(token)

    def decide(self, place: str) -> list[str | None]:
        """Decide what was added as one batch; return what `expected` should have, in order."""
        waiting, self.waiting = self.waiting, []
        return codes(self.made if place == KEY else self.made.front, *waiting)

    def _alice(self, verb: str, stream: str, **arguments: Any) -> None:
        self.waiting.append(command(verb, stream, self.made.number, arguments=arguments))

    def _carol(self, verb: str, stream: str, key: str, **arguments: Any) -> str | None:
        """Let carol ask; return why it is refused before anything is looked at but who she is and what is forbidden."""
        made = document(verb, stream, self.made.number, principal="carol", arguments=arguments)
        made["data"]["signing_key"] = signer(key).fingerprint
        self.waiting.append(signed_by(signer(key), json.dumps(made).encode(), stream))
        if key == "carol" and not self.first_key:
            return "rejected"
        if self.status != "Active":
            return f"Principal{self.status}"
        return "AccessDenied" if self.forbidden else None

    def _at_key(self, token: str) -> str | None:
        match token:
            case "encrypt" | "encrypt-2":
                refused = self._carol("Encrypt", KEY, token.replace("encrypt", "carol"))
                denied = "AccessDenied" if self.stopped or not self.grants else None
                return refused or denied or ("KeyDisabled" if self.disabled else None)
            case "disable" | "enable":
                self.disabled = token == "disable"
                self._alice("DisableKey" if self.disabled else "EnableKey", KEY)
            case "grant":
                end = to_text(START_MS + DAY_MS)
                self._alice("CreateGrant", KEY, grantee="carol", verbs=["Encrypt"], expires_at=end)
                if self.status == "Revoked":
                    return "NotFound"
                self.grants.append(uuid(self.made.number))
            case "ungrant":
                self._alice("RevokeGrant", KEY, grant=self.grants[-1] if self.grants else uuid(0xABC))
                if not self.grants:
                    return "NotFound"
                self.grants.pop()
            case _:
                before, self.stopped = self.stopped, token == "stop"
                return self._policy(KEY, before, self.stopped)
        return None

    def _at_registry(self, token: str) -> str | None:
        match token:
            case "alias" | "alias-2":
                alias = {"alias": f"alias/{self.made.number}", "key_id": KEY.removeprefix("key/")}
                return self._carol("CreateAlias", REGISTRY, token.replace("alias", "carol"), **alias)
            case "forbid" | "permit":
                before, self.forbidden = self.forbidden, token == "forbid"
                return self._policy(REGISTRY, before, self.forbidden)
            case "revoke-key":
                key = signer("carol").fingerprint
                self._alice("RevokeSigningKey", REGISTRY, principal="carol", signing_key=key)
                before, self.first_key = self.first_key, False
                return None if before else "InvalidState"
        return self._standing(token)

    def _standing(self, token: str) -> str | None:
        verb, becomes, possible = {
            "suspend": ("SuspendPrincipal", "Suspended", {"Active"}),
            "resume": ("ResumePrincipal", "Active", {"Suspended"}),
            "revoke": ("RevokePrincipal", "Revoked", {"Active", "Suspended"}),
        }[token]
        self._alice(verb, REGISTRY, principal="carol")
        if self.status not in possible:
            return "InvalidState"
        self.status = becomes
        return None

    def _policy(self, stream: str, before: bool, after: bool) -> str | None:
        if after:
            self._alice("PutPolicy", stream, policy="stop", text=FORBID)
            return None
        self._alice("DeletePolicy", stream, policy="stop")
        return None if before else "NotFound"
