"""The weights of SAEs: decoder directions, fingerprint, encoder.

From outside: the modules. Only workers and the demo import them.
"""
