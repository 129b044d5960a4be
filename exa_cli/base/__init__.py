"""The ground floor: errors, durable files, clock and processes.

Every other room may import this one; it imports no room. ``files``, ``clock``
and ``proc`` are where exa touches the world outside, so tests replace only them.
"""
