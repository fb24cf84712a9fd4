"""How sure are the similarities?"""
