"""`select --tune`: weights of scores, found by training small models on what they select."""
