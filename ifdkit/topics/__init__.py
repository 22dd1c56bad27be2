"""Topics of a dataset, from sentence embeddings: clusters, their titles, and a map.

model       k-means and a layout, fitted once and applied chunk by chunk
layouts     the map: two principal components, or UMAP
titles      the words that tell a cluster from the others (c-TF-IDF)
neighbors   the rows nearest to one

Nothing here computes an embedding.
"""
