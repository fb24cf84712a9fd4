"""Training small networks: the loop, its schedule, its processes."""
