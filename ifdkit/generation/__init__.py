"""The verb *generate*: a model's answers to the instructions of a dataset."""
