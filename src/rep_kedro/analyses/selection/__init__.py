"""Which few networks together make the best ensemble?"""
