"""Which networks are near each other?"""
