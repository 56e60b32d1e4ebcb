"""The notary: signs what the log is, so that nobody can change it afterwards without being found out.

It reads all of `keyfold.events`, keeps one Merkle tree for each partition, and publishes signed tree heads
(checkpoints) with the hashes that proofs are made from. It decides nothing and changes no event.
"""
