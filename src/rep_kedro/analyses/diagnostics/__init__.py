"""What is one layer like: spectrum, dimension, receptive field?"""
