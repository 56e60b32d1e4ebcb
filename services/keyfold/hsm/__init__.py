"""The HSM worker: executes what policy authorized, through PKCS#11, and appends one outcome for each accepted command.

It never decides whether a command may be obeyed. `custody` holds key material; the rest of this package reads tickets,
executes them in batches, and commits outcomes, keystore records and positions together. Replies leave after the commit.
"""
