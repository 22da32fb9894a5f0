"""The only place where a recipe becomes objects: rows, a model, a training, a loaded run.

``data`` turns sources into pools, ``model`` builds encoder, architecture and heads, ``warm_start`` begins a
training from another run, and ``run`` trains, evaluates and predicts. Start reading at ``run/training.py``.
"""
