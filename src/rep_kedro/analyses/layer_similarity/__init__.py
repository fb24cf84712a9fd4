"""How similar is every layer of a network to every layer of the same or other networks?"""
