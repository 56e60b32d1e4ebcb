"""The scheduler: what time triggers becomes a signed command, as the principal `scheduler`; never a hidden side effect.

It destroys keys whose deletion date has come, rotates keys that are compromised, old enough or whose usage budget is
nearly used, deletes imported material that is over, rotates the sealing key daily and has retired ones erased, ends
storage epochs that every partition has left, and keeps the keys of token issuers fresh. It decides nothing that policy
does not decide again, and keeps no state: after a restart it looks at what is due.
"""
