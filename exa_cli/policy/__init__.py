"""What an end means and what comes next: pure functions with their truth tables."""
