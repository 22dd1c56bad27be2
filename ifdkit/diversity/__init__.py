"""How diverse a set of rows is, from its sentence embeddings and texts, and how it covers another.

vectors      embeddings as the measures see them: unit length, in an order of their own
measures     NovelSum, Vendi score, nearest distance, cluster inertia: the registry
repetition   word sequences that occur in several texts
coverage     the share of one set that another one is near to
spread       intervals of a difference between two sets

Nothing here computes an embedding.  Memory is bounded by the vectors and blocks of distances.
"""
