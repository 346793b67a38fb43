"""What a guest is told: the bundle of files, the disc that carries them, and the keys."""
