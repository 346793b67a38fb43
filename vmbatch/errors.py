"""The one tree of errors.

::

    VmbatchError
    ├── SubmitterError      the job's owner can mend it: a request, an image, a guest of theirs
    │   ├── RequestError    what `-l other=` asked for
    │   ├── ImageError      an image that is not there, not allowed, not fit
    │   └── GuestError      the guest started and then failed
    ├── SiteError           the administrator of the site can mend it
    │   ├── ConfigError     the site file
    │   └── TemplateError   a domain template
    ├── NodeError           this node is at fault: the job may fare better elsewhere or later
    │   ├── ProgramError    a helper program is missing or failed
    │   └── HypervisorError libvirt or QEMU
    └── CancelledError         somebody asked us to stop

Only the edges (`vmbatch.cli`, `vmbatch.batch`) print an error or turn it into an exit code.
"""


class VmbatchError(Exception):
    """What went wrong and what mends it.

    Args:
        message: one line: the thing, the place, the cause.
        hint: one line: the cure.

    Attributes:
        phase: the phase of the job's way in which it happened, where known.
        console: the last lines of the guest's console, where they help.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.phase = ""
        self.console: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Message and hint, a line each."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class SubmitterError(VmbatchError):
    """The owner of the job can act on it."""


class RequestError(SubmitterError):
    """The request is not well-formed, or beyond what the site allows."""


class ImageError(SubmitterError):
    """An image does not exist, is not allowed, or is not what it says."""


class GuestError(SubmitterError):
    """The guest was started and did not become, or stay, usable."""


class SiteError(VmbatchError):
    """The administrator of the site can act on it; another try does not help."""


class ConfigError(SiteError):
    """The site file can't be used."""


class TemplateError(SiteError):
    """A domain template can't be used."""


class NodeError(VmbatchError):
    """This node failed; the same job may run elsewhere or later."""


class ProgramError(NodeError):
    """A program that we run is missing, failed, or took too long."""


class HypervisorError(NodeError):
    """libvirt or QEMU refused or did not answer."""


class CancelledError(VmbatchError):
    """The work was given up on demand: the job was deleted, or a newer prologue took over."""
