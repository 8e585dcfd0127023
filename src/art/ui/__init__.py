"""The page over a tree of runs: what is wrong, since when, how to go on. Shows what `ops` answers; sees no tensor."""
