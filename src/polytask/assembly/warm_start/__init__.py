"""Trainings that begin from a finished run, and runs that lose a task.

``parent_run`` opens the run to begin from; ``warm_start`` gives a new model its weights; ``removal`` writes a run
without one of its tasks. Start reading at ``warm_start.py``.
"""
