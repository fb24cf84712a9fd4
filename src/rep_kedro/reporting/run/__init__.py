"""What was run, what is missing, and what changed."""
