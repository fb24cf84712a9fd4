"""Which networks are near each other, and in which clusters?"""
