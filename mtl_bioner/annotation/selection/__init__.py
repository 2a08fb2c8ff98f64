"""Pick the texts that are worth annotating by hand: those a model is least sure of, spread over the collection."""
