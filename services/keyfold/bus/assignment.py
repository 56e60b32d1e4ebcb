"""Who gets which partition: balanced, and with as few moves as possible. Pure; it knows no group and no broker.

Every move costs a restore, so a member keeps what it has while the balance allows it.
"""

import json
from collections.abc import Collection, Mapping


def share_out(partitions: Collection[int], claims: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """Share partitions among members (by name, with what each claims to have); sizes differ by one at most.

    Depends on nothing but its arguments: whichever member computes it, the result is the same. Of two that claim the
    same partition the first by name keeps it.
    """
    if not claims:
        return {}
    shares: dict[str, list[int]] = {member: [] for member in sorted(claims)}
    unclaimed = sorted(set(partitions))
    quota, extra = divmod(len(unclaimed), len(shares))
    for member, share in shares.items():
        held = [partition for partition in unclaimed if partition in set(claims[member])]
        # As many members as there are extra partitions may keep one more than the others.
        size = quota + 1 if extra > 0 and len(held) > quota else quota
        share.extend(held[:size])
        extra -= len(share) > quota
        unclaimed = [partition for partition in unclaimed if partition not in share]
    for partition in unclaimed:
        min(shares.values(), key=len).append(partition)
    return {member: sorted(share) for member, share in shares.items()}


def encode_claim(instance: str, held: Collection[int]) -> bytes:
    """Write what a member tells the group's leader about itself."""
    return json.dumps({"instance": instance, "held": sorted(held)}).encode()


def decode_claim(data: bytes, fallback: str) -> tuple[str, frozenset[int]]:
    """Read it; what cannot be read is a member under the fallback name that holds nothing."""
    try:
        claim = json.loads(data)
        return str(claim["instance"]), frozenset(int(partition) for partition in claim["held"])
    except (ValueError, KeyError, TypeError):
        return fallback, frozenset()
