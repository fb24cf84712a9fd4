"""What do the images look like that the networks were shown?"""
