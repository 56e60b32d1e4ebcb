"""Projections: pure folds of events into tables, and the one store that keeps them in Postgres.

`replay` believes and folds records; `fold`, `audit`, `usage` and `tables` say what they change; `ports` is what a
process sees of a store. `store` is the only package that meets psycopg; `memory` is the same store in memory. Nothing
here reads a topic or a clock.
"""
