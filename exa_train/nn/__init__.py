"""Building blocks that every model family is made of. They know no mesh and no rank.

Shapes are written as suffixes: B sequences, T positions, N = B·T tokens, A = N·k assignments
of a token to an expert, D model width, H query heads, K key/value heads, G = H/K query heads
that share one, C head width, F inner width, E experts, V vocabulary rows.
"""
