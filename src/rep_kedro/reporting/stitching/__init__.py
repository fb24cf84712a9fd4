"""Can one network continue from another network's layer?"""
