"""Results in notebooks: HTML views, and figures of matplotlib."""
