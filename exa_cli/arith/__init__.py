"""What a model costs, in exact integers: parameters, FLOPs, bytes. Pure, no torch.

Every figure comes with the convention it is counted by, and a test builds each preset from
its torch modules and finds the same integers.
"""
