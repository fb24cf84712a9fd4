"""Do other measures of similarity agree?"""
