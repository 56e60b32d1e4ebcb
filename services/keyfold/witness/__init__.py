"""A witness: cosigns the log's checkpoints as long as each extends the one before, and keeps what does not as evidence.

It runs elsewhere than the log, under somebody else's hands, with a directory of its own. It never sees the log's
records, decides nothing, and needs no right but to read hashes and to write cosignatures.
"""

from keyfold.witness.cosigner import WitnessUnusable
from keyfold.witness.home import Home, Pins, create_home, open_home
from keyfold.witness.judging import Forked
from keyfold.witness.service import Witness

__all__ = ["Forked", "Home", "Pins", "Witness", "WitnessUnusable", "create_home", "open_home"]
