"""What can be read out of the networks?"""
