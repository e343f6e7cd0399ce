"""The engine on transformers: one continuous batch, a steering of its own for every request. It imports no Django.

From outside: `engine`, `loading`, `prompt_reader`, `detokenizer`, `directions`, by workers, the demo and `examples/`.
"""
