"""What are the layers like?"""
