"""What watches a training: one file holds one monitor."""
