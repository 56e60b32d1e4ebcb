"""The detectors: each sees the ticks of one entity in order, learns what is usual there, and says what is not."""
