"""Does similarity on one stimulus set carry over to another?"""
