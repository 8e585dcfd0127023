"""What a checkpoint is: names of its files, its manifest, its lineage. Opens no file, sees no tensor."""
