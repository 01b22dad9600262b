"""What a sweep minimises."""
