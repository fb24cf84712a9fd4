"""Which networks were compared, and how were they trained?"""
