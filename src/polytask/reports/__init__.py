"""Reports: tables for the console, Markdown, the HTML page and the live page of a training.

They read the JSON records of runs and comparisons, and never load a model. Start reading at ``page``
(one self-contained file), then ``sections``.
"""
