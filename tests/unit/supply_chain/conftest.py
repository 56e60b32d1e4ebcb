"""The checks of the supply chain are a script's, not a package's: their directory is put where imports look."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts"))
