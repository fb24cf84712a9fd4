"""What can a linear probe read from a layer?"""
