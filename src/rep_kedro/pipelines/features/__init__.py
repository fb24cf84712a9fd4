"""How does each network represent each image?"""
