"""What a rank runs: model, data, parallelism, checkpoints, and the loop that drives them.

``python -m exa_train`` is the program; `program` brings a rank up and `loop` trains.
"""
