"""The verb *train*: fine-tune a model on a dataset, and see what it did to held-out responses."""
