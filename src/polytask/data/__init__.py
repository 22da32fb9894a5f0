"""Rows from files to batches: sources, splits, preparation, augmentation, mixtures and the loader.

``sources`` read files into ``tables``, ``splits`` divide them, ``pools`` keep prepared rows on disk,
and ``sampler`` and ``loader`` draw training batches from pools by a mixture (``mixing``). Start
reading at ``tables``, ``pools`` and ``sampler``.
"""
