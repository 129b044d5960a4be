"""From what was asked to what will run: every "auto" decided, each with its reason."""
