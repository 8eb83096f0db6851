"""Two models on the same items: is one worse, where, and how sure is that?"""
