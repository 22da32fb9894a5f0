"""Journeys of a whole recipe or run folder: check, train, evaluate, predict.

``training_parts`` holds what they have in common; ``loaded_run`` is a run in memory. Start reading at ``training.py``.
"""
