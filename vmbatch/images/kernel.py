"""Debian's generic kernel: it has 9p, which the cloud kernel has not.

The layout of a bzImage is in the kernel's Documentation/x86/boot.rst.
"""

from __future__ import annotations

import lzma
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import NodeError
from vmbatch.images.apt import Packages
from vmbatch.process import run

_METAPACKAGE = "linux-image-amd64"
_XZ = b"\xfd7zXZ\0"
_SECTOR = 512
_SIGNED = b"~Module signature appended~\n"
_SIGNATURE_HEAD_BYTES = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """An unpacked kernel package.

    Args:
        version: as in /lib/modules/VERSION.
        root: the directory it is unpacked in.
        dependencies: for each module's path below /lib/modules/VERSION, what it needs.
    """

    version: str
    root: Path
    dependencies: dict[str, tuple[str, ...]]

    @property
    def modules(self) -> Path:
        """The directory of modules."""
        return self.root / "lib" / "modules" / self.version

    def closure(self, names: Sequence[str]) -> list[str]:
        """Return the paths of modules and all that they need, in the order to load them.

        Raises:
            NodeError: the kernel has no such module.
        """
        paths = {_module_name(path): path for path in self.dependencies}
        order: dict[str, None] = {}
        for name in names:
            if name.replace("-", "_") not in paths:
                raise NodeError(
                    f"the kernel {self.version} has no module {name}",
                    hint="this release of vmbatch does not know that kernel: report it",
                )
            self._visit(paths[name.replace("-", "_")], order)
        return list(order)

    def _visit(self, path: str, order: dict[str, None]) -> None:
        if path in order:
            return
        for needed in self.dependencies[path]:
            self._visit(needed, order)
        order[path] = None


def _module_name(path: str) -> str:
    return Path(path).name.removesuffix(".ko").replace("-", "_")


def unpack_kernel(packages: Packages, root: Path, busybox: Path) -> Kernel:
    """Fetch and unpack the newest generic kernel.

    Args:
        packages: where from.
        root: an empty directory to unpack into.
        busybox: a static busybox, for its depmod.

    Raises:
        NodeError: the package can't be had.
    """
    names = [name for name in packages.depends(_METAPACKAGE) if name.startswith("linux-image-")]
    if len(names) != 1:
        raise NodeError(
            f"can't tell which kernel {_METAPACKAGE} stands for: {names}",
            hint="this release of vmbatch does not know that mirror's kernel: report it",
        )
    version = names[0].removeprefix("linux-image-")
    (package,) = packages.download(names)
    run(["dpkg-deb", "-x", package, root])
    run([busybox, "depmod", "-b", root, version])
    listed = (root / "lib" / "modules" / version / "modules.dep").read_text().splitlines()
    pairs = (line.split(":", 1) for line in listed)
    return Kernel(
        version=version,
        root=root,
        # depmod names the nearest need first; that which they all need must be loaded first.
        dependencies={path: tuple(reversed(needs.split())) for path, needs in pairs},
    )


def copy_modules(kernel: Kernel, names: Sequence[str], root: Path, busybox: Path) -> None:
    """Put modules and what they need below `root`, with the tables that modprobe reads."""
    for path in kernel.closure(names):
        target = root / "lib" / "modules" / kernel.version / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.write_bytes(without_signature((kernel.modules / path).read_bytes()))
    run([busybox, "depmod", "-b", root, kernel.version])


def copy_all_modules(kernel: Kernel, root: Path, *, leave: Sequence[str]) -> None:
    """Put the tree of modules below `root`, without the directories named in `leave`."""
    target = root / "lib" / "modules" / kernel.version
    skip = {kernel.modules / "kernel" / name for name in leave}

    def ignore(place: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(place, name) in skip]

    shutil.copytree(kernel.modules, target, ignore=ignore)


def without_signature(module: bytes) -> bytes:
    """Return a module without the signature at its end (include/linux/module_signature.h).

    The kernel checks it where it is there: 0.4 s a boot without a hardware accelerator. What it
    proves, apt has proved of the whole package.
    """
    if not module.endswith(_SIGNED):
        return module
    (length,) = struct.unpack(">I", module[-len(_SIGNED) - 4 : -len(_SIGNED)])
    return module[: -len(_SIGNED) - _SIGNATURE_HEAD_BYTES - length]


def write_vmlinux(kernel: Kernel, target: Path) -> None:
    """Write the kernel uncompressed.

    QEMU starts such a kernel by PVH. Without a hardware accelerator that saves the guest's own
    decompression, several seconds.

    Raises:
        NodeError: the kernel is not packed as expected.
    """
    image = (kernel.root / "boot" / f"vmlinuz-{kernel.version}").read_bytes()
    target.write_bytes(unpack_bzimage(image))


def unpack_bzimage(image: bytes) -> bytes:
    """Return the ELF file within a bzImage whose payload is packed with xz.

    Raises:
        NodeError: it is no such file.
    """
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise NodeError("the kernel is no bzImage", hint="report it, with the kernel's version")
    start = ((image[0x1F1] or 4) + 1) * _SECTOR
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[start + offset : start + offset + length]
    if not payload.startswith(_XZ):
        raise NodeError(
            "the kernel is not packed with xz", hint="report it, with the kernel's version"
        )
    return lzma.LZMADecompressor().decompress(payload)
