"""Records as tables and documents. Reads JSON only; never loads a model."""
