"""From the sources of a recipe to pools of prepared rows.

``loading`` reads, splits and drops leaks; ``views`` names the columns that tasks read; ``pools`` prepares the rows with
encoder and tasks. The other modules count, check and explain what happened to rows. Start reading at ``loading.py``.
"""
