"""A run behind an address: HTTP with batching, limits, metrics and a playground.

``batching`` is the queue and the thread that computes, ``service`` puts a loaded run behind it,
``app`` answers requests, ``limits`` checks them before. Start reading at ``service``.
"""
