"""The policy processor: decides every command, in order, and is the single writer of decisions.

`decide` and `evolve` are pure; `admission` authenticates; `state` is what one partition remembers; `processor` is the
loop around them. It holds no sealing key and never sees a secret.
"""
