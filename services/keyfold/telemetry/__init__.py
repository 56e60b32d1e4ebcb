"""What a process tells about itself while it runs: metrics, liveness, readiness and traces.

It knows no service: each hands in what it looks at. Nothing here decides anything, and a process serves the same with
all of it off, as it is by default. This module imports nothing: who only hands traces on loads nothing else.
"""
