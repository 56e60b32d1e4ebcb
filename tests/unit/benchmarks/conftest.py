"""Benchmarks are scripts, not a package: their directory is put where imports look."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts"))
