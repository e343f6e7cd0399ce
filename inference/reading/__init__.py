"""Reading as the web does it: the choice of model and SAE, the request to a worker, its result. No torch.

From outside: `request`, `details`.
"""
