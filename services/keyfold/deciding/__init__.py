"""Deciding: the functional core of policy, importable by whoever re-decides what was decided.

`decide` makes one decision from an admitted command and a `World`; `admission` authenticates; `cedar` authorizes. It is
pure: no I/O, clock, randomness or threads. The loop around it is `keyfold.policy`; the command line explains, simulates
and suggests with the same code.
"""
