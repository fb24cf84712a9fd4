"""How similar is each pair of networks on each stimulus set?"""
