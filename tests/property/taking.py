"""What is given to carol and taken away again, as a small model beside the office that decides it.

The model knows only what each command does to what carol may: her standing, her two signing keys, a grant, the state of
one key, and forbids on the registry and on the key. It says what must come of every command before it is decided.
"""

from typing import Any, Final

from hypothesis import strategies as st
from tests.property.wishes import HOUR_MS
from tests.support.desk import Desk
from tests.support.forks import fork
from tests.support.office import KEY, Office, bare
from tests.support.people import Signed, command, document, signed, signed_by, signer, uuid

from keyfold.events import facts
from keyfold.events.streams import REGISTRY
