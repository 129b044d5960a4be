"""Batch systems: submit, find, ask, cancel, signal.

One module or package per batch system, found by its name; `types` is what all of them
answer in, `queues` a queue as it runs now, `inside` what a job is told, `registry` makes one by
its kind. Everything above sees `types.Scheduler` only.
"""
