"""How similar is every layer to every layer of the same or other networks?"""
