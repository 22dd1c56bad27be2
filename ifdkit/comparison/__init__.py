"""`ifdkit compare`: what changed between two datasets, and whether it is real."""
