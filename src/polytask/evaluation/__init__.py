"""Evaluation: predictions over prepared rows, scores with intervals, and tests of differences.

``predict`` runs a model over pools, ``score`` computes metrics and bootstrap intervals, ``significance`` and
``paired_tests`` compare models. Start reading at ``predict``.
"""
