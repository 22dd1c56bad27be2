"""`ifdkit reflect`: a dataset rewritten through an oracle."""
