"""One module for each stimulus source: its parameters, and ``read``, which opens it."""
