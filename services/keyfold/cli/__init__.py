"""`keyfold`: the command line. Starts and stops the local stack, administers keys, protects files, shows what happened.

It writes as a client of the deployment (`keyfold.client`) and reads what the projections say; it meets no token but in
the root ceremony, and no service but through the log.
"""
