"""How far is a similarity from chance, and how sure is it?"""
