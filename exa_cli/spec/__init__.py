"""What a user asks for: declarations of keys, the run file, the shape of a model."""
