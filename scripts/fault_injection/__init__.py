"""Fault injection: a real stack of three brokers, broken on purpose under load, and what must hold afterwards."""
