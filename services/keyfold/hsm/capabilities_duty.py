"""What the owner of partition 0 says about its token when it starts: which kinds of keys can be made and used here."""

from collections.abc import Callable

from keyfold.custody.capabilities import Capabilities
from keyfold.events import entities, facts
from keyfold.events.entities import CAPABILITIES
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.events.view import View
from keyfold.hsm.engine import Work


class CapabilitiesDuty:
    """Synchronous, because it asks the token. `find` tries it (`keyfold.custody.find_capabilities`)."""

    def __init__(self, find: Callable[[], Capabilities], clock_ms: Callable[[], int]) -> None:
        self._find, self._clock_ms = find, clock_ms

    def report(self, registry: View) -> Work | None:
        """Return the event that says what was found, unless the registry knows just that."""
        found = self._find()
        offers = list(found.capabilities)
        known = registry.get(CAPABILITIES)
        if isinstance(known, entities.Capabilities):
            same = (list(known.capabilities), known.imports, known.module) == (offers, found.imports, found.module)
            if same:
                return None
        now = self._clock_ms()
        event = facts.TokenCapabilitiesFound.new(
            f"0.{now}.capabilities",
            REGISTRY,
            to_text(now),
            module=found.module,
            capabilities=offers,
            imports=found.imports,
        )
        return Work((event,))
