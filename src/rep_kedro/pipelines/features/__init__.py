"""What does each network say about each image?"""
