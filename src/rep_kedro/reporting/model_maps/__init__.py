"""Which networks form clusters?"""
