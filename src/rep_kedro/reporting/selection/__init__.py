"""Which few networks do best together?"""
