"""How text becomes token ids and a span to score: templates, protocols, alignment."""
