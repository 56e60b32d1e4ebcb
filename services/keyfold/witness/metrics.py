"""All metrics of a witness, declared once, with help text."""

from typing import Final

from prometheus_client import Counter, Gauge

COSIGNED: Final = Counter("keyfold_witness_cosigned", "Checkpoints cosigned and published.")
SIZE: Final = Gauge("keyfold_witness_tree_size", "Size of the tree that was cosigned last, of each log.", ["partition"])
FORKED: Final = Gauge("keyfold_witness_forked", "1 when a checkpoint contradicted what was cosigned.")
