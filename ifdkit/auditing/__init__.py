"""`ifdkit audit`: a dataset checked against rules."""
