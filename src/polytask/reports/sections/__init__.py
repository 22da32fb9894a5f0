"""The sections of the page, one file per section.

Each takes the data of the report and returns None if the folder lacks its records. Start reading at
``base`` (templates), then ``scores``.
"""
