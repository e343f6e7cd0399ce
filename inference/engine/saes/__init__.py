"""The weights of SAEs: decoder directions, fingerprint, encoder.

From outside: `decoder`, `directions`, `fingerprint`, `encoders`, by workers and the demo.
"""
