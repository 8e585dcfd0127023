"""The store of one root folder: real folders, real processes, and every way of being stopped half-way."""
