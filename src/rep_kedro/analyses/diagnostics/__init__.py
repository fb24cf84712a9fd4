"""What are the spectrum, dimension and receptive field of each layer?"""
