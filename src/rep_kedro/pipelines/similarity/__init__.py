"""How similar are two networks, also on other images?"""
