"""`ifdkit judge`: which of two files of answers an oracle prefers."""
