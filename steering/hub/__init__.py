"""The sources of models and SAEs: Hugging Face hubs, and folders of this machine.
From outside: `client`, `catalogue`, `sources`, `errors`.
"""
