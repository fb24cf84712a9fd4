"""What is checked before anything runs, so that a mistake costs seconds and is told in one line."""
