"""Backups: what cannot be derived is copied while services are stopped, and an empty cluster is filled from the copy.

`copying` and `filling` are about the log, `files` about secrets, `database` about Postgres; `laying` says how records
come to stand where they stood, `manifest` what a backup is.
"""

from keyfold.cli.backup.command import app

__all__ = ["app"]
