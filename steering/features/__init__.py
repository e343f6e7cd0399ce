"""Features beside their labels: statistics, tokens, nearest features and examples; their import from Neuronpedia."""
