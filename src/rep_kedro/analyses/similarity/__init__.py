"""How similar are two networks on one stimulus set?"""
