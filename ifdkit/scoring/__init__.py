"""Examples to numbers: the model behind a store, metrics, scores files."""
