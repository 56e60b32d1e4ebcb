"""Signatures and MACs for the load of fault tests: made by a key's current version, verified by the one that made them.

It remembers every proof that a caller was given. None may ever be said to be invalid, whatever was killed meanwhile.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from keyfold.client import Keyfold
from keyfold.events.specs import KeySpec, KeyUsage

SPECS: Final[Mapping[KeySpec, KeyUsage]] = {
    "ECC_NIST_P256": "SIGN_VERIFY", "ECC_NIST_EDWARDS25519": "SIGN_VERIFY", "HMAC_256": "GENERATE_VERIFY_MAC",
}  # fmt: skip
Count = Callable[[str, str, int], None]


@dataclass(frozen=True, slots=True)
class Proof:
    """A signature or MAC of a message by one version of a key."""

    key_id: str
    version: int
    message: bytes
    proof: bytes


@dataclass(slots=True)
class Proofs:
    """The keys by their spec, and what they have made. `count` notes items that were served; `wrong` is the tally's."""

    count: Count
    wrong: list[str]
    keys: dict[str, str] = field(default_factory=dict)
    made: list[Proof] = field(default_factory=list)

    async def create(self, admin: Keyfold) -> list[str]:
        """Create a key of each spec, in the token; returns the ids of the commands."""
        commands = []
        for spec, usage in SPECS.items():
            made = await admin.create_key(key_spec=spec, key_usage=usage, protection="HSM")
            self.keys[made.key_id] = spec
            commands.append(made.command_id)
        return commands

    def choose(self, source: random.Random) -> tuple[str, Callable[[Keyfold, random.Random], Awaitable[None]]]:
        """Choose a key, and what is done with it."""
        key_id = source.choice(list(self.keys))

        async def act(client: Keyfold, source: random.Random) -> None:
            candidates = [proof for proof in self.made[-100:] if proof.key_id == key_id]
            if candidates and source.random() < 0.5:
                await self._verify(client, [source.choice(candidates)])
            else:
                await self._prove(client, key_id, source.randbytes(source.randrange(100)))

        return key_id, act

    async def verify_all(self, client: Keyfold) -> None:
        """Verify everything that was made, each by its version."""
        by_version: dict[tuple[str, int], list[Proof]] = {}
        for proof in self.made:
            by_version.setdefault((proof.key_id, proof.version), []).append(proof)
        for proofs in by_version.values():
            for start in range(0, len(proofs), 200):
                await self._verify(client, proofs[start : start + 200])

    async def _prove(self, client: Keyfold, key_id: str, message: bytes) -> None:
        if self.keys[key_id].startswith("HMAC"):
            mac = await client.generate_mac(key_id, message, mac_algorithm="HMAC_SHA_256")
            self.count("GenerateMac", key_id, 1)
            self.made.append(Proof(key_id, mac.key_version, message, mac.mac))
            return
        made = await client.sign(key_id, message, signing_algorithm=_algorithm(self.keys[key_id]))
        self.count("Sign", key_id, 1)
        self.made.append(Proof(key_id, made.key_version, message, made.signature))

    async def _verify(self, client: Keyfold, proofs: list[Proof]) -> None:
        key_id, version = proofs[0].key_id, proofs[0].version
        pairs = [(proof.message, proof.proof) for proof in proofs]
        if self.keys[key_id].startswith("HMAC"):
            verb = "VerifyMac"
            valid = await client.verify_mac_batch(key_id, pairs, mac_algorithm="HMAC_SHA_256", key_version=version)
        else:
            verb, algorithm = "Verify", _algorithm(self.keys[key_id])
            valid = await client.verify_batch(key_id, pairs, signing_algorithm=algorithm, key_version=version)
        self.count(verb, key_id, len(pairs))
        if not all(valid):
            self.wrong.append(f"{verb}: a proof by version {version} of {key_id} is said to be invalid")


def _algorithm(spec: str) -> Literal["ECDSA_SHA_256", "ED25519_SHA_512"]:
    return "ECDSA_SHA_256" if spec == "ECC_NIST_P256" else "ED25519_SHA_512"
