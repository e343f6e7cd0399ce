"""Where models and SAEs come from: Hugging Face hubs and folders. No torch.
From outside: `client`, `catalogue`, `sources`, `errors`.
"""
