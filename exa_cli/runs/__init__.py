"""A run on disk: its directory, journal, attempts, lives and epoch claims.

The files are the only durable channel between the login node, the supervisor and the
ranks, so any of the three can die at any moment. State is a fold over these files.
"""
