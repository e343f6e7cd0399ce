"""What `millm` of a response holds beside the answer: the features that fire, and where conditions held."""
