"""What must hold in every place: a root on a disk, a folder, memory, and real object stores."""
