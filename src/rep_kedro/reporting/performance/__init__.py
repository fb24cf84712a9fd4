"""Do networks that represent images similarly perform equally well?"""
