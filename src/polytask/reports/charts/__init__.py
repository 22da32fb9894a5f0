"""Charts as SVG, drawn from plain numbers.

Bars, curves, matrices and graphs; every function is pure. Start reading at ``svg`` (elements, scales).
"""
