"""Training objectives, one per file. To add one: write its file, list it in `registry`, add a parity test."""
