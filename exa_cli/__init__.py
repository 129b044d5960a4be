"""exa: plan, submit and keep alive the training of large models on batch systems.

This package is the login node's and the supervisor's half. It never imports
torch, ``exa_train`` or ``exa_kernels``; ``tests/test_rooms.py`` holds it to that.
"""

__version__ = "0.1.0"
