"""How alike are two networks, and does that hold on other images?"""
