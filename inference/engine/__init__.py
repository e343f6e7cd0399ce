"""The engine on transformers: one continuous batch, a steering of its own for every request. It imports no Django.

From outside: `engine`, `loading`, `prompt_reader`, `detokenizer`, `saes`, `reading`, by workers, the demo and
`examples/`.
"""
