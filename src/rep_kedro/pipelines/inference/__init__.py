"""How far are the similarities from chance, and how sure are they?"""
