"""The training of a model: the loop, one optimiser step, and the state that a checkpoint holds.

Options, learning rates, precision, logs and multi-process training are here as well. Start with
``loop.train``, then read ``session.Session`` and ``step.Stepper``.
"""
