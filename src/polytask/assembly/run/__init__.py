"""What is done with a recipe or a run folder as a whole: check, train, evaluate, predict.

``parts`` holds what they have in common; ``loaded_run`` is a run in memory. Start reading at ``training.py``.
"""
