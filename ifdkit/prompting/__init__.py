"""How text becomes token ids and a span to score.

templates   the text that precedes a response
protocols   named, complete conventions
tokens      what is needed of a tokenizer
joining     how context and target become one sequence of ids
alignment   the passes of an example, and its status
"""
