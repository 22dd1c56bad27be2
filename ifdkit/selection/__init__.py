"""`ifdkit select`: the rows worth training on."""
