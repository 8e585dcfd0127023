"""One module for each command: what is asked, and whom to ask for it.

Their annotations are not postponed: typer needs every one of them at each start, and would compile them again.
"""
