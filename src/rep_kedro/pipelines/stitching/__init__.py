"""Whether one network can go on from another's layer."""
