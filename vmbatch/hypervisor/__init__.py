"""libvirt and QEMU: the only package that imports libvirt."""
