"""An audit as HTML, Markdown and SARIF."""
