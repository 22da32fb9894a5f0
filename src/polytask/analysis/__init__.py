"""Comparisons of strategies, and measurements of how tasks help or hurt each other.

``compare`` trains and tests strategies; ``analyse`` measures gradients, affinities and groups.
Start reading at ``compare.py`` and ``analyse.py``.
"""
