"""What models earned over their steps, as a table and as charts: the names that scripts import from here.

The table is one of Polars and the charts are Matplotlib's: `pip install 'artfork[plotting]'`.
"""
