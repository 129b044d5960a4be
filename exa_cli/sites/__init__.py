"""Site profiles: what exa knows of a machine, as data.

`schema` declares the keys, `load` finds, merges, checks and freezes a profile, `paths` turns
a path template into a directory that is only ours, `detect` looks at this machine,
`recognise` tells which site it is of, `drift` holds a profile against the running queues,
and `starter` writes one to begin with (its [node] table: `nodelines`).
"""
