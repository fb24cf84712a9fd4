"""Of one network held fixed: which networks are similar to it, also on other images?"""
