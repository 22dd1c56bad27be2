"""`ifdkit predict`: which score predicts a preference, and whether it says more than length."""
