"""What steers, as JSON: one document for profiles, the live steering, requests and files.

`Steering` parses and writes it, `Composition` is a request's sum of profiles, `resolve` makes a spec.
"""

from steering.document.composition import Composition, combine
from steering.document.part import Part
from steering.document.steering import Steering

__all__ = ["Composition", "Part", "Steering", "combine"]
