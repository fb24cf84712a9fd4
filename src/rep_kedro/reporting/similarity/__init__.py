"""Which networks represent the same images similarly?"""
