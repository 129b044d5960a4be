"""Job scripts: directives, the launch line, and the rendering of ``templates/``.

What a script says is computed elsewhere; here it is put into words, with the origin of each
line. Everything a shell will read goes through `quote`.
"""
