"""What a network can do when outputs of its layers are restricted to some directions."""
