"""The engine on transformers: one continuous batch, a steering of its own for every request. It imports no Django.

From outside: `engine.ContinuousEngine`, `loading.load`, `forward`, `directions`. Only workers and the demo import it.
"""
