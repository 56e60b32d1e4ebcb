"""`keyfold demo`: the main job on real files, step by step, each one checked. What it claims, it measures."""
