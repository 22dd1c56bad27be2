"""Datasets: reading rows from files, turning rows into examples, writing rows back."""
