"""What can a linear probe decode from a layer?"""
