"""The projector: reads `keyfold.events`, believes and folds it into Postgres, and publishes the directory.

It writes nothing on the events topic and decides nothing. What it is told twice it writes once; what it cannot believe
it reports and skips; where the log has a gap it stops that partition alone.
"""
