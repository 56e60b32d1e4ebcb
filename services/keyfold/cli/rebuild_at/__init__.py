"""`keyfold projections rebuild --at`, `list` and `drop`: the projections as of a moment of the past."""
