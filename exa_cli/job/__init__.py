"""What runs at the head of an allocation: the supervisor and the programs it starts."""
