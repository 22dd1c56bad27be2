"""What was measured, and how to measure it again. Imports the package, never the reverse."""
