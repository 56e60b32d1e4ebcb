"""Looking back: a key as of a time, who could have done what then, its history, and all decisions made again.

What is read is the verified log, the audit trail or an archive; nothing here writes.
"""
