"""A comparison as HTML, Markdown and LaTeX."""
