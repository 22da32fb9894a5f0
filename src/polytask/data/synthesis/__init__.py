"""Shop reviews made by a grammar, with labels that follow from how they were made."""
