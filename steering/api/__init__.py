"""REST of the live steering and of labels, and what the REST of all apps shares.
From outside: `pagination`, `permissions`, `schema`, `search`, `serializers`, `label_serializers`.
"""
