"""Do similar networks make the same errors, and perform equally well?"""
