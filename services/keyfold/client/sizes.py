"""How many items one record of a verb holds, so that no record occupies a worker for longer than policy allows.

The client does not know a key's spec, only what the arguments say: the bound is that of the most expensive spec which
has the algorithm. What is refused as too expensive or too large all the same is divided (`flights`). Pure.
"""

import json
from typing import Any

from keyfold.client.intents import Intent
from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.costs import max_items
from keyfold.events.specs import ALGORITHMS, USAGE_OF_VERB

_PAIR = "key_pair_spec"


def most_items(intent: Intent) -> int:
    """Return how many items a record of this verb and arguments may hold, 1 to 1000."""
    usage = USAGE_OF_VERB.get(intent.verb)
    if usage is None:
        return MAX_ITEMS
    arguments: dict[str, Any] = json.loads(intent.arguments)
    if _PAIR in arguments:
        return max_items(intent.verb, arguments[_PAIR])
    named = {value for name, value in arguments.items() if name.endswith("_algorithm")}
    specs = [
        spec
        for (spec, use), algorithms in ALGORITHMS.items()
        if use == usage and (named & {*algorithms} or (not named and "SYMMETRIC_DEFAULT" in algorithms))
    ]
    return min((max_items(intent.verb, spec) for spec in specs), default=MAX_ITEMS)
