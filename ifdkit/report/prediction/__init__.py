"""The report of `ifdkit predict`."""
