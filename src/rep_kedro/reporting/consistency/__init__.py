"""Does similarity on some images hold on other images?"""
