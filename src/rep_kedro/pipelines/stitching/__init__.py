"""Can one network continue from a layer of another?"""
