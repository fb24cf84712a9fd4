"""One module per project command, each with its ``command``."""
