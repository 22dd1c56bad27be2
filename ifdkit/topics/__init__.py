"""Topics of a dataset, from sentence embeddings: clusters, their titles, and a map.

model       k-means and two principal components, fitted once and applied chunk by chunk
titles      the words that tell a cluster from the others (c-TF-IDF)
neighbors   the rows nearest to one

Nothing here computes an embedding.
"""
