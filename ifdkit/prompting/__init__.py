"""How text becomes token ids and a span to score.

templates       the text that precedes a response: built-in templates and template files
chat            the chat template of a tokenizer
structures      messages, tools and tool calls as objects
sandbox         where untrusted templates are rendered, within limits
sandbox_worker  the process in which they are
omissions       what a template left out of a conversation
protocols       named, complete conventions
tokens          what is needed of a tokenizer
joining         how context and target become one sequence of ids
alignment       the passes of an example, and its status
"""
