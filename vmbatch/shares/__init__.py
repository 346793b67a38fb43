"""The owner's directories in the guest: which ones, and by what way they get there."""
