"""Reading: the features that fire on texts, by forward passes beside the batch.

From outside: `reader.FeatureReader`, `top_features`, `contrast`, `logit_lens`, `nearest_features`.
"""
