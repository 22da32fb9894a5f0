"""From the parts of a recipe to a model, and from a run folder back to it.

``assemble`` builds, saves and loads; ``base_weights`` leaves weights out of files that a named model provides;
``dependencies`` records which tasks reach each parameter. Start reading at ``assemble.py``.
"""
