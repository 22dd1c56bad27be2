"""`ifdkit reflect`: rewrite a dataset with an oracle."""
