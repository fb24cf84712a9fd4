"""Do networks that represent images similarly make the same errors?"""
