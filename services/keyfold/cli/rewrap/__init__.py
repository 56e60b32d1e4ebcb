"""`keyfold rewrap`: a re-encryption campaign over a list or a topic of ciphertexts, that survives being broken off."""

from keyfold.cli.rewrap.command import rewrap

__all__ = ["rewrap"]
