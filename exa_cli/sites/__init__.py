"""Site profiles: what exa knows of a machine, as data.

`schema` declares the keys, `load` finds, merges, checks and freezes a profile, `paths` turns
a path template into a directory that is only ours, `detect` looks at this machine.
"""
